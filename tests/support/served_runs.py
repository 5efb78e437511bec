"""Runs on a real server, which belong to no session: submitted, and ended by an agent the test plays."""

from typing import Any

from taskyard_api.v1 import common_pb2, run_service_pb2, states_pb2, template_pb2
from taskyard_contract.id_factory import new_id


def submit(served: Any, count: int) -> list[bytes]:
    """Submit runs of one task; returns their ids."""
    template = template_pb2.RunTemplate(
        kind=states_pb2.RUN_KIND_TASK, name="add", task_key="key-add", queue="default", encoding="json/plain",
        code=template_pb2.Code(task_name="add"),
    )  # fmt: skip
    args = common_pb2.Payload(encoding="json/plain", data=b"x")
    runs = [run_service_pb2.NewRun(run_id=new_id(), template=template, args=args) for _ in range(count)]
    served.runs.SubmitRuns(run_service_pb2.SubmitRunsRequest(runs=runs), timeout=10)
    return [run.run_id for run in runs]


def complete(served: Any, agent: Any, count: int) -> list[bytes]:
    """Let runs end, and one more begin."""
    ids = submit(served, count)
    for epoch, run_id in agent.take(count):
        agent.report(epoch, run_id, b"42")
    agent.wait_reported()
    submit(served, 1)
    return ids
