"""Explain over the network: what is asked, what is refused, and on both databases."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_contract.id_factory import new_id, new_ids
from taskyard_contract.states import RunState as S
from taskyard_contract.states import WaitReason as W
from taskyard_contract.transport.rpc_errors import from_rpc_error


def explain(served: Any, *run_ids: bytes, **fields: Any) -> list[pb.Explanation]:
    request = pb.ExplainRequest(run_ids=run_ids, **fields)
    return list(served.runs.Explain(request, timeout=10).explanations)


def test_the_answer_has_the_order_of_the_question(on_either: Any) -> None:
    first, second = on_either.submit(2)
    [last] = on_either.submit(name="sum", upstream=[first, second])
    nobody = new_id()
    found = explain(on_either, last, nobody, first, last)
    assert [each.run_id for each in found] == [last, nobody, first, last]
    assert [each.state for each in found] == [S.PENDING, 0, S.READY, S.PENDING]
    assert [each.name for each in found] == ["sum", "", "add", "sum"]
    assert [W(wait.reason) for wait in found[0].waits] == [W.UPSTREAM, W.NO_AGENT]
    assert {run.run_id for run in found[0].waits[0].runs} == {first, second}
    assert (found[0].waits[1].about.run_id, list(found[1].waits)) == (first, [])


def test_a_run_that_is_executed_or_has_ended_has_no_reasons(served: Any, agent: Any) -> None:
    first, second = served.submit(2)
    (epoch, _), (later, _) = agent.take(2)
    started = ap.StartedRun(key=ap.RunKey(run_id=second, epoch=later))
    agent.send(ap.AgentFrame(started=[started]))
    agent.report(epoch, first, b"1")
    agent.wait_reported()
    found = explain(served, first, second)
    assert [(each.state, len(each.waits)) for each in found] == [(S.COMPLETED, 0), (S.RUNNING, 0)]


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (pb.ExplainRequest(), "run_ids has 0 ids; at least one and at most 100 are explained"),
        (pb.ExplainRequest(run_ids=new_ids(101)), "run_ids has 101 ids"),
        (pb.ExplainRequest(run_ids=[new_id(), b"1"]), "run_ids[1] has 1 bytes; a run id has 16"),
    ],
)
def test_a_wrong_question_is_refused(served: Any, request_: pb.ExplainRequest, text: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        served.runs.Explain(request_, timeout=10)
    error: Any = refused.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert text in str(from_rpc_error(error))


def test_only_the_default_namespace_is_there(served: Any) -> None:
    [run_id] = served.submit()
    assert explain(served, run_id, namespace="default")[0].state == S.READY
    with pytest.raises(grpc.RpcError) as refused:
        explain(served, run_id, namespace="other")
    error: Any = refused.value
    assert error.code() is grpc.StatusCode.NOT_FOUND


def test_hundred_runs_that_wait_for_a_thousand(served: Any) -> None:
    thousand = served.submit(1_000)
    waiting = served.submit(100, name="sum", upstream=thousand[:200])
    found = explain(served, *waiting)
    assert {each.waits[0].runs_left for each in found} == {200}
    assert {W(each.waits[-1].reason) for each in found} == {W.NO_AGENT}


def test_the_same_reason_is_the_message_of_the_run(served: Any, serve: Callable[..., Any]) -> None:
    [run_id] = served.submit()
    assert (
        served.get(run_id).message == explain(served, run_id)[0].waits[0].message == "no agent is connected"
    )
