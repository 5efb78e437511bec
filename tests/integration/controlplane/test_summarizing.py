"""SummarizeRuns over real gRPC: what is inside a flow run, and which of it is executed."""

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from taskyard_api.v1 import run_service_pb2, session_service_pb2, states_pb2, template_pb2
from taskyard_contract.errors import InvalidRequest, RunNotFound
from taskyard_contract.id_factory import new_id, new_ids
from taskyard_contract.states import ReportKind, RunKind, RunState
from taskyard_contract.transport.rpc_errors import from_rpc_error
from taskyard_controlplane.reading.summing import RunSummarizer

pb, sp = run_service_pb2, session_service_pb2
S = RunState


class Flow:
    """A flow run with some task runs, of which one has called others."""

    def __init__(self, served: Any, tasks: int = 4) -> None:
        self.run_id, self.tasks, self.called = new_id(), new_ids(tasks), new_ids(2)
        self._runs = served.runs
        definitions = [
            _definition(1, states_pb2.RUN_KIND_FLOW, "main"),
            _definition(2, states_pb2.RUN_KIND_TASK, "step"),
            _definition(3, states_pb2.RUN_KIND_TASK, "helper", queue="nobody"),
        ]
        groups = [
            sp.RunGroup(template=1, run_ids=[self.run_id], args=[b""]),
            sp.RunGroup(template=2, run_ids=self.tasks, flow_run_id=self.run_id, args=[b""] * tasks),
            sp.RunGroup(
                template=3,
                run_ids=self.called,
                flow_run_id=self.run_id,
                caller_run_id=self.tasks[0],
                args=[b""] * 2,
            ),
        ]
        batch = sp.SubmitBatch(number=1, templates=definitions, groups=groups)
        self._stream: Iterator[Any] = served.session(sp.ClientFrame(submit=batch))
        while next(self._stream).submitted_up_to < 1:
            pass

    def pages(self, *, details: bool = True) -> Iterator[Any]:
        request = pb.SummarizeRunsRequest(flow_run_id=self.run_id, details=details)
        while True:
            page = self._runs.SummarizeRuns(request, timeout=10)
            yield page
            request.page_token = page.next_page_token
            if not page.next_page_token:
                return

    def states(self, *, details: bool = True) -> dict[str, dict[int, int]]:
        found: dict[str, Counter[int]] = {}
        for page in self.pages(details=details):
            for task in page.tasks:
                name = f"{task.caller_task_name}/{task.task_name}"
                counts = {int(one.state): one.runs for one in task.counts}
                found.setdefault(name, Counter()).update(counts)
        return {name: dict(counts) for name, counts in found.items()}

    def until(self, expected: dict[str, dict[int, int]]) -> None:
        deadline = time.monotonic() + 30
        while (found := self.states()) != expected:
            assert time.monotonic() < deadline, found


def _definition(index: int, kind: Any, name: str, queue: str = "default") -> template_pb2.TemplateDefinition:
    template = template_pb2.RunTemplate(
        kind=kind, name=name, queue=queue, encoding="json/plain", code=template_pb2.Code(task_name=name)
    )
    return template_pb2.TemplateDefinition(index=index, template=template)


def test_runs_are_told_by_task_and_by_whom_they_were_called(served: Any) -> None:
    served.submit(3)
    flow = Flow(served)
    assert flow.states() == {"/step": {S.PENDING: 4}, "step/helper": {S.PENDING: 2}}
    assert flow.states(details=False) == {"/step": {S.PENDING: 4}, "/helper": {S.PENDING: 2}}
    [page] = flow.pages()
    assert [task.task_name for task in page.tasks] == ["step", "helper"]
    assert {task.kind for task in page.tasks} == {RunKind.TASK}


def test_what_is_executed_is_told_apart_and_what_has_ended_how_long_it_took(served: Any, agent: Any) -> None:
    flow = Flow(served)
    taken = agent.take(4)
    agent.started(*taken[0])
    flow.until({"/step": {S.ASSIGNED: 3, S.RUNNING: 1}, "step/helper": {S.PENDING: 2}})
    agent.report(*taken[1], b"3")
    agent.report(*taken[2], b"", kind=ReportKind.FAILED, message="no")
    agent.wait_reported()
    expected = {S.ASSIGNED: 1, S.RUNNING: 1, S.COMPLETED: 1, S.FAILED: 1}
    flow.until({"/step": expected, "step/helper": {S.PENDING: 2}})
    [page] = flow.pages()
    [step, _] = page.tasks
    assert [(one.duration_us, one.runs) for one in step.durations] == [(10, 2)]
    assert (step.first_started_us, step.last_ended_us) == (5_000_000, 5_000_010)
    [page] = flow.pages(details=False)
    assert not page.tasks[0].durations


@pytest.mark.parametrize("most", [1, 2, 3, 100])
def test_pages_add_up_and_each_moves_what_is_its_own(
    served: Any, agent: Any, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    defaults = RunSummarizer.page.__kwdefaults__
    monkeypatch.setitem(defaults, "most", most)
    flow = Flow(served, tasks=5)
    agent.started(*agent.take(2)[1])
    flow.until({"/step": {S.ASSIGNED: 1, S.RUNNING: 1, S.PENDING: 3}, "step/helper": {S.PENDING: 2}})
    pages = list(flow.pages())
    assert len(pages) == -(-7 // most) + (7 % most == 0)
    assert all(sum(one.runs for task in page.tasks for one in task.counts) <= most for page in pages)


def test_of_an_empty_flow_run_there_is_nothing_to_say(served: Any) -> None:
    flow = Flow(served)
    page = served.runs.SummarizeRuns(pb.SummarizeRunsRequest(flow_run_id=flow.tasks[0]), timeout=10)
    assert page == pb.SummarizeRunsResponse()


def refusal(served: Any, **fields: Any) -> Exception:
    with pytest.raises(grpc.RpcError) as caught:
        served.runs.SummarizeRuns(pb.SummarizeRunsRequest(**fields), timeout=10)
    return from_rpc_error(caught.value)


def test_a_wrong_request_says_what_is_wrong(served: Any) -> None:
    flow = Flow(served)
    assert isinstance(refusal(served, flow_run_id=new_id()), RunNotFound)
    for fields in ({}, {"flow_run_id": b"short"}):
        error = refusal(served, **fields)
        assert isinstance(error, InvalidRequest)
        assert error.field == "flow_run_id"
    error = refusal(served, flow_run_id=flow.run_id, page_token="no")
    assert isinstance(error, InvalidRequest)
    assert error.field == "page_token"


def test_a_token_of_another_flow_run_is_refused(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RunSummarizer.page.__kwdefaults__, "most", 1)
    one, other = Flow(served), Flow(served)
    token = next(one.pages()).next_page_token
    assert isinstance(refusal(served, flow_run_id=other.run_id, page_token=token), InvalidRequest)


def test_which_of_some_runs_are_executed_is_said_without_a_look_at_the_database(
    served: Any, agent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = served.submit(5)
    taken = agent.take(3)
    agent.started(*taken[0])
    request = pb.CountRunsRequest(filter=pb.RunFilter(run_ids=[*ids, new_id()], states=[S.RUNNING]))  # type: ignore[list-item]
    deadline = time.monotonic() + 30
    while not (counts := served.runs.CountRuns(request, timeout=10).counts):
        assert time.monotonic() < deadline
    monkeypatch.setattr("taskyard_controlplane.storage.queries.DatabaseReader.open_runs", None)
    assert served.runs.CountRuns(request, timeout=10).counts == counts
    assert [(one.state, one.runs) for one in counts] == [(S.RUNNING, 1)]
    request.filter.states.append(S.ASSIGNED)  # type: ignore[arg-type]
    told = {one.state: one.runs for one in served.runs.CountRuns(request, timeout=10).counts}
    assert told == {S.RUNNING: 1, S.ASSIGNED: 2}
