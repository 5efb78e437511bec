"""ListRuns, GetRun and CountRuns over real gRPC: by what, in which order, and how much of each run."""

import time
from typing import Any

import grpc
import pytest

from taskyard_api.v1 import common_pb2, run_service_pb2, template_pb2
from taskyard_contract.errors import InvalidRequest
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import ReportKind, RunState
from taskyard_contract.transport.rpc_errors import from_rpc_error

pb = run_service_pb2
S = RunState


def listed(served: Any, order: Any = 0, **fields: Any) -> list[bytes]:
    request = pb.ListRunsRequest(filter=pb.RunFilter(**fields), order=order)
    return [run.run_id for run in served.runs.ListRuns(request, timeout=10).runs]


def counted(served: Any, **fields: Any) -> dict[int, int]:
    answer = served.runs.CountRuns(pb.CountRunsRequest(filter=pb.RunFilter(**fields)), timeout=10)
    assert answer.searched_to_us == 0
    return {count.state: count.runs for count in answer.counts}


def test_runs_are_found_by_what_their_task_says(served: Any) -> None:
    [add] = served.submit(name="add", tags=["nightly", "big"])
    [mul] = served.submit(name="mul", tags=["nightly"])
    assert listed(served, task_name="add") == [add]
    assert listed(served, task_key="key-mul") == [mul]
    assert listed(served, tags=["nightly"]) == [mul, add]
    assert listed(served, tags=["nightly", "big"]) == [add]
    assert listed(served, queue="default") == [mul, add]
    assert listed(served, queue="other") == []
    assert listed(served, run_ids=[add, new_id()]) == [add]
    assert listed(served, caller_run_id=add) == []


def test_runs_are_found_by_when_they_were_submitted(served: Any) -> None:
    ids = [served.submit()[0] for _ in range(3)]
    at = [served.get(run_id).submitted_us for run_id in ids]
    assert listed(served, submitted_from_us=at[1]) == ids[:0:-1]
    assert listed(served, submitted_before_us=at[1]) == ids[:1]
    assert listed(served, submitted_from_us=at[2] + 1) == []


def test_runs_are_found_by_the_agent_that_executes_them(served: Any, agent: Any) -> None:
    ids = served.submit(3)
    taken = agent.take(2)
    held = sorted((run_id for _, run_id in taken), reverse=True)
    assert listed(served, agent_name="small") == held
    assert listed(served, agent_name="small", run_ids=ids[-1:]) == [each for each in held if each == ids[-1]]
    assert listed(served, agent_name="small", states=[S.COMPLETED]) == []
    assert listed(served, agent_name="another") == []
    assert counted(served, agent_name="small") == {S.ASSIGNED: 2}
    epoch, run_id = taken[0]
    agent.report(epoch, run_id, b"3")
    agent.wait_reported()
    assert listed(served, agent_name="small") == [taken[1][1]]


@pytest.mark.parametrize("order", [pb.RUN_ORDER_NEWEST_FIRST, pb.RUN_ORDER_OLDEST_FIRST])
def test_pages_go_on_in_the_order_they_began_in(served: Any, order: Any) -> None:
    ids = served.submit(5)
    request = pb.ListRunsRequest(page_size=2, order=order)
    seen: list[bytes] = []
    while True:
        page = served.runs.ListRuns(request, timeout=10)
        seen += [run.run_id for run in page.runs]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == (ids if order == pb.RUN_ORDER_OLDEST_FIRST else ids[::-1])


def test_a_token_of_another_order_is_refused(served: Any) -> None:
    served.submit(3)
    token = served.runs.ListRuns(pb.ListRunsRequest(page_size=1), timeout=10).next_page_token
    request = pb.ListRunsRequest(page_token=token, order=pb.RUN_ORDER_OLDEST_FIRST)
    with pytest.raises(grpc.RpcError) as caught:
        served.runs.ListRuns(request, timeout=10)
    assert isinstance(from_rpc_error(caught.value), InvalidRequest)
    newest = pb.ListRunsRequest(page_token=token, order=pb.RUN_ORDER_NEWEST_FIRST)
    assert len(served.runs.ListRuns(newest, timeout=10).runs) == 2, "the same as none said"


def test_all_of_a_run_is_told_to_who_asks_for_it(served: Any) -> None:
    [run_id] = served.submit(name="add", data=b"[1, 2]", priority=-3, tags=["big"])
    request = pb.ListRunsRequest(view=pb.RUN_VIEW_FULL)
    [in_a_page] = served.runs.ListRuns(request, timeout=10).runs
    for run in (in_a_page, served.get(run_id, view=pb.RUN_VIEW_FULL)):
        assert run.args == common_pb2.Payload(encoding="json/plain", data=b"[1, 2]")
        assert (run.template.name, run.template.priority, list(run.template.tags)) == ("add", -3, ["big"])
    [brief] = served.runs.ListRuns(pb.ListRunsRequest(), timeout=10).runs
    for run in (brief, served.get(run_id)):
        assert run.priority == -3
        assert not run.HasField("args")
        assert not run.HasField("template")


def test_a_run_that_waits_for_its_next_attempt_says_until_when(served: Any, agent: Any) -> None:
    [run_id] = served.submit(retry=template_pb2.RetryPolicy(max_retries=1, delays_ms=[600_000]))
    [(epoch, _)] = agent.take(1)
    assert served.get(run_id).agent_id == "id-small"
    agent.report(epoch, run_id, b"", kind=ReportKind.FAILED, message="no")
    agent.wait_reported()
    [in_a_page] = served.runs.ListRuns(pb.ListRunsRequest(), timeout=10).runs
    for run in (in_a_page, served.get(run_id)):
        assert (run.state, run.message, run.agent_id) == (S.AWAITING_RETRY, "no", "")
        assert run.due_us > run.submitted_us + 500_000_000


def test_runs_are_counted_by_state(served: Any, agent: Any) -> None:
    served.submit(6, name="add")
    served.submit(2, name="mul")
    taken = agent.take(4)
    for epoch, run_id in taken[:2]:
        agent.report(epoch, run_id, b"3")
    agent.wait_reported()
    agent.started(*taken[2])
    expected = {S.COMPLETED: 2, S.ASSIGNED: 1, S.RUNNING: 1, S.READY: 4}
    deadline = time.monotonic() + 30
    while (found := counted(served)) != expected:
        assert time.monotonic() < deadline, found
    assert counted(served, task_name="mul") == {S.READY: 2}
    assert counted(served, states=[S.READY, S.COMPLETED]) == {S.READY: 4, S.COMPLETED: 2}
    assert counted(served, states=[S.RUNNING]) == {S.RUNNING: 1}
    assert counted(served, states=[S.COMPLETED]) == {S.COMPLETED: 2}
    assert counted(served, run_ids=[run_id for _, run_id in taken[:3]]) == {S.COMPLETED: 2, S.RUNNING: 1}
    assert counted(served, flow_run_id=new_id()) == {}
