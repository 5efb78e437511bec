"""Who asked for the end of a run, or of an agent, and why, is told to people who look at it later."""

import logging
from typing import Any

import grpc
import pytest

from taskyard_api.v1 import admin_service_pb2 as admin
from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.errors import InvalidRequest
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import ReportKind, RunState
from taskyard_contract.transport.rpc_errors import from_rpc_error

SAID = "cancelled by ann@host: wrong input"


def cancel(served: Any, run_id: bytes, **fields: Any) -> int:
    request = pb.CancelRunRequest(run_id=run_id, **fields)
    return int(served.runs.CancelRun(request, timeout=10).state)


def messages(served: Any, run_id: bytes) -> list[tuple[int, str]]:
    states = served.runs.ListRunStates(pb.ListRunStatesRequest(run_id=run_id), timeout=10).states
    return [(entry.state, entry.message) for entry in states if entry.message]


def ended(served: Any, run_id: bytes) -> pb.Run:
    request = pb.WaitRunRequest(run_id=run_id, timeout_ms=20_000)
    run: pb.Run = served.runs.WaitRun(request, timeout=25).run
    assert run.state == RunState.CANCELLED
    return run


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"requested_by": "ann@host", "reason": "wrong input"}, SAID),
        ({"requested_by": "ann@host"}, "cancelled by ann@host"),
        ({"reason": "wrong input"}, "cancelled: wrong input"),
        ({}, "cancellation was requested"),
    ],
)
def test_a_run_that_waits_says_who_ended_it(served: Any, fields: dict[str, str], said: str) -> None:
    [run_id] = served.submit()
    cancel(served, run_id, **fields)
    assert served.get(run_id).message == said
    assert messages(served, run_id) == [(RunState.CANCELLED, said)]


def how_it_ends(agent: Any, how: str, epoch: int, run_id: bytes) -> None:
    key = ap.RunKey(run_id=run_id, epoch=epoch)
    if how == "confirmed":
        agent.send(ap.AgentFrame(report_number=1, cancelled=[key]))
    elif how == "lost":
        agent.send(ap.AgentFrame(report_number=1, lost=[ap.LostRun(key=key, message="exit code 9")]))
    elif how == "failed":
        agent.report(epoch, run_id, b"", kind=ReportKind.FAILED, message="something else")
    else:
        agent.report(epoch, run_id, b"result")


@pytest.mark.parametrize("how", ["confirmed", "lost", "failed", "completed"])
def test_a_run_that_executes_says_so_too_however_its_agent_ends_it(served: Any, agent: Any, how: str) -> None:
    [run_id] = served.submit()
    [(epoch, _)] = agent.take(1)
    assert cancel(served, run_id, requested_by="ann@host", reason="wrong input") == RunState.CANCELLING
    assert cancel(served, run_id, requested_by="bob@host", reason="too") == RunState.CANCELLING
    assert served.get(run_id).message == SAID
    how_it_ends(agent, how, epoch, run_id)
    assert ended(served, run_id).message == SAID
    assert messages(served, run_id) == [(RunState.CANCELLING, SAID), (RunState.CANCELLED, SAID)]


def test_a_session_that_names_nobody_asks_itself(served: Any) -> None:
    named, unnamed = served.submit(2)
    hello = sp.SessionHello(protocol_min=2, protocol_max=2, session_id=new_id(), client_name="host:7 go-1.2")
    frames = [
        sp.ClientFrame(hello=hello),
        sp.ClientFrame(cancel=[named], requested_by="ann@host", cancel_reason="wrong input"),
        sp.ClientFrame(cancel=[unnamed], goodbye=True),
    ]
    list(served.sessions.Connect(iter(frames), timeout=20))
    assert ended(served, named).message == SAID
    assert ended(served, unnamed).message == "cancelled by host:7 go-1.2"


def test_what_is_withdrawn_says_why_only_if_there_is_a_reason(served: Any) -> None:
    with_reason, without = served.submit(2)
    hello = sp.SessionHello(protocol_min=2, protocol_max=2, session_id=new_id(), client_name="c")
    frames = [
        sp.ClientFrame(hello=hello),
        sp.ClientFrame(withdraw=[with_reason], requested_by="ann@host", cancel_reason="not needed"),
        sp.ClientFrame(withdraw=[without], goodbye=True),
    ]
    list(served.sessions.Connect(iter(frames), timeout=20))
    assert ended(served, with_reason).message == "withdrawn by ann@host: not needed"
    assert ended(served, without).message == "its flow run ended before the run could start"


def test_a_session_names_somebody_briefly(served: Any) -> None:
    frames = served.session(sp.ClientFrame(cancel=[new_id()], requested_by="b" * 1_025))
    with pytest.raises(grpc.RpcError) as caught:
        list(frames)
    error = from_rpc_error(caught.value)  # type: ignore[arg-type]  # a call that failed has all of it
    assert isinstance(error, InvalidRequest)
    assert (error.field, error.limit) == ("requested_by", 1_024)


def test_a_long_reason_is_cut(served: Any) -> None:
    [run_id] = served.submit()
    cancel(served, run_id, requested_by="b" * 1_024, reason="r" * 20_000)
    message = served.get(run_id).message
    assert message.startswith("cancelled by " + "b" * 1_024 + ": rrr")
    assert message.endswith("r...")
    assert len(message) == 8 * 1_024 + 3


def test_a_drain_says_so_in_the_log(served: Any, agent: Any, caplog: pytest.LogCaptureFixture) -> None:
    request = admin.DrainAgentRequest(agent_id="id-small", requested_by="ann@host", reason="a new kernel")
    with caplog.at_level(logging.INFO):
        served.admin.DrainAgent(request, timeout=10)
    assert "agent 'small' is to drain, with 0 runs: asked to by ann@host: a new kernel" in caplog.text
    assert next(agent.frames).drain
