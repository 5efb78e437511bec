"""What a session does when runs are refused, streams break, or it cannot go on: nobody waits in vain."""

from typing import Any

import pytest
from support.loopback import LoopbackSession

from taskyard._engine.submission.submitting import submit_one
from taskyard._network.session.in_flight import InFlight
from taskyard.futures import Future
from taskyard.tasks import task
from taskyard_api.v1 import errors_pb2
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.errors import ErrorReason, InvalidRequest, StorageFull, Superseded
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import FlowEvent, RunState


@task
def double(x: int) -> int:
    return 2 * x


def outbound(session: LoopbackSession) -> list[pb.ClientFrame]:
    """Return what the session would send now."""
    frames = []
    while (frame := session.in_flight.next_frame()) is not None:
        frames.append(frame)
    return frames


@pytest.fixture
def silent(session: LoopbackSession) -> LoopbackSession:
    """A session whose frames nobody takes until the test does."""
    session.silent = True
    return session


def ended(attempt: int = 1, run_id: bytes = b"") -> pb.FlowReport:
    return pb.FlowReport(run_id=run_id or new_id(), attempt=attempt, event=FlowEvent.SUCCEEDED)


def test_a_session_that_ends_fails_decisions_and_those_who_wait_for_its_opening(
    silent: LoopbackSession,
) -> None:
    decision = silent.report_end(ended())
    silent.in_flight.opened.clear()
    silent.fail(Superseded("another process has this session"))
    assert silent.in_flight.opened.is_set()
    with pytest.raises(Superseded):
        decision.result(0)


def test_runs_that_wait_to_be_sent_are_not_asked_for(silent: LoopbackSession) -> None:
    future = submit_one(double, silent.scope(), (1,), {})
    silent.in_flight.on_welcome(silent.script.welcome().welcome)
    frames = outbound(silent)
    assert not any(frame.subscribe for frame in frames), "no server knows the run yet"
    assert [list(frame.submit.groups[0].run_ids) for frame in frames] == [[future.run_id]]


def test_a_run_that_was_refused_is_not_sent_again_on_the_next_stream(silent: LoopbackSession) -> None:
    refused, other = (submit_one(double, silent.scope(), (x,), {}) for x in (1, 2))
    outbound(silent)
    full = errors_pb2.ErrorDetail(reason=ErrorReason.STORAGE_FULL)
    silent.in_flight.on_frame(
        pb.SessionFrame(refused=[pb.RefusedRun(run_id=refused.run_id, error=full, message="no room")])
    )
    silent.in_flight.on_welcome(silent.script.welcome().welcome)
    [again] = [frame.submit for frame in outbound(silent) if frame.HasField("submit")]
    assert again.resend
    assert [run_id for group in again.groups for run_id in group.run_ids] == [other.run_id]


def test_runs_of_an_overloaded_server_wake_the_stream(
    session: LoopbackSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    later: list[Any] = []

    class Loop:
        def call_later(self, delay: float, callback: object) -> None:
            later.append(callback)

    monkeypatch.setattr("taskyard._network.session.session.loop_thread.loop", Loop)
    overloaded = errors_pb2.ErrorDetail(reason=ErrorReason.OVERLOADED, retry_after_ms=250)
    session.script.refuse = lambda run_id: overloaded
    future = submit_one(double, session.scope(), (1,), {})
    session.script.refuse = lambda run_id: None
    [put_back] = later
    put_back()
    assert future.result(0) == 2


@pytest.mark.parametrize("withdraws", [False, True], ids=["cancelled", "withdrawn"])
def test_the_end_of_a_run_is_requested_again_when_an_overloaded_server_gets_the_run_once_more(
    silent: LoopbackSession, monkeypatch: pytest.MonkeyPatch, withdraws: bool
) -> None:
    later: list[Any] = []
    monkeypatch.setattr(silent.in_flight, "_call_later", lambda delay, call: later.append(call))
    future = submit_one(double, silent.scope(), (1,), {})
    outbound(silent)
    overloaded = errors_pb2.ErrorDetail(reason=ErrorReason.OVERLOADED, retry_after_ms=250)
    refused = pb.RefusedRun(run_id=future.run_id, error=overloaded)
    silent.in_flight.on_frame(pb.SessionFrame(submitted_up_to=1, refused=[refused]))
    (silent.withdraw if withdraws else silent.cancel)([future.run_id])
    outbound(silent)  # to a server that does not know the run
    [put_back] = later
    put_back()
    [frame] = outbound(silent)
    assert list(frame.submit.groups[0].run_ids) == [future.run_id]
    assert list(frame.withdraw if withdraws else frame.cancel) == [future.run_id]


def test_the_first_reason_why_a_flow_run_was_refused_is_the_one_given(silent: LoopbackSession) -> None:
    run_id = new_id()
    for reason in (ErrorReason.STORAGE_FULL, ErrorReason.INVALID_REQUEST):
        refused = pb.RefusedRun(run_id=run_id, error=errors_pb2.ErrorDetail(reason=reason))
        silent.in_flight.on_frame(pb.SessionFrame(refused=[refused]))
    with pytest.raises(StorageFull):
        silent.report_end(ended(run_id=run_id)).result(0)


def test_reports_of_a_refused_flow_run_are_not_repeated(silent: LoopbackSession) -> None:
    refused, kept = ended(), ended()
    decision = silent.report_end(refused)
    silent.report_end(kept)
    outbound(silent)
    reason = errors_pb2.ErrorDetail(reason=ErrorReason.INVALID_REQUEST)
    silent.in_flight.on_frame(
        pb.SessionFrame(refused=[pb.RefusedRun(run_id=refused.run_id, error=reason, message="no")])
    )
    with pytest.raises(InvalidRequest):
        decision.result(0)
    silent.in_flight.on_welcome(silent.script.welcome().welcome)
    repeated = [report.run_id for frame in outbound(silent) for report in frame.flow_reports]
    assert repeated == [kept.run_id]


@pytest.mark.parametrize("withdraws", [False, True], ids=["cancelled", "withdrawn"])
def test_requests_to_end_runs_are_remembered_while_somebody_waits_for_the_run(
    silent: LoopbackSession, withdraws: bool
) -> None:
    known, refused = (submit_one(double, silent.scope(), (n,), {}) for n in range(2))
    ids = [known.run_id, refused.run_id, new_id()]
    (silent.withdraw if withdraws else silent.cancel)(ids)
    outbound(silent)
    reason = errors_pb2.ErrorDetail(reason=ErrorReason.INVALID_REQUEST)
    silent.in_flight.on_frame(
        pb.SessionFrame(submitted_up_to=1, refused=[pb.RefusedRun(run_id=refused.run_id, error=reason)])
    )
    silent.in_flight.on_welcome(silent.script.welcome().welcome)
    frames = outbound(silent)
    repeated = [run_id for frame in frames for run_id in (*frame.cancel, *frame.withdraw)]
    assert repeated == [known.run_id], "not what was refused, nor what is nobody's"


def test_those_who_wait_are_woken_when_all_of_a_batch_is_settled(silent: LoopbackSession) -> None:
    first, second = (submit_one(double, silent.scope(), (n,), {}) for n in range(2))
    seen: list[bool] = []
    first.when_settled(lambda: seen.append(second.done()))
    results = pb.ResultBatch(run_ids=[first.run_id, second.run_id], data=[b"", b""])
    silent.in_flight.on_frame(pb.SessionFrame(results=results))
    assert seen == [True]


def test_a_cancel_request_for_nobody_changes_nothing(silent: LoopbackSession) -> None:
    silent.in_flight.on_frame(
        pb.SessionFrame(
            cancel_requests=[new_id()],
            flow_decisions=[pb.FlowDecision(run_id=new_id(), state=RunState.CANCELLED)],
        )
    )
    assert silent.in_flight.fatal is None
    assert silent.in_flight.next_frame() is None, "there is nothing to say to it"


def test_an_outcome_wakes_who_waits_for_it(silent: LoopbackSession) -> None:
    future: Future[Any] = submit_one(double, silent.scope(), (1,), {})
    seen: list[Any] = []
    future.when_settled(lambda: seen.append(future))
    outcome = pb.RunOutcome(run_id=future.run_id, state=RunState.FAILED)
    silent.in_flight.on_frame(pb.SessionFrame(results=pb.ResultBatch(others=[outcome])))
    assert seen == [future]


def test_asking_for_a_frame_lets_the_next_submission_ask_again() -> None:
    in_flight = InFlight(str, lambda: None, lambda delay, call: None)
    in_flight.signalled = True
    assert in_flight.next_frame() is None
    assert not in_flight.signalled, "or no submission would ever wake the stream again"
