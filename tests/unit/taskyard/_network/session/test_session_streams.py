"""A session loses nothing and repeats nothing it need not, whatever happens to its streams."""

import pytest
from support.loopback import LoopbackSession

from taskyard._engine.submission.submitting import submit_one
from taskyard._network.session.run_groups import GroupKey, RunGroup
from taskyard._network.session.templates import Template
from taskyard.exceptions import Overloaded
from taskyard.tasks import task
from taskyard_api.v1 import errors_pb2, template_pb2
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.errors import ErrorReason, InvalidRequest, Superseded, TaskyardError
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import FlowEvent, RunState


@task
def double(x: int) -> int:
    return 2 * x


def frames_with_runs(session: LoopbackSession) -> list[pb.SubmitBatch]:
    answers = session.script
    return [frame.submit for frame in answers.frames if frame.HasField("submit")]


@pytest.fixture
def recorded(session: LoopbackSession) -> LoopbackSession:
    """A session whose frames are kept."""
    inner = session.script.answers

    def answers(frame: pb.ClientFrame, templates: object) -> list[pb.SessionFrame]:
        session.script.frames.append(frame)
        return inner(frame, templates)  # type: ignore[arg-type]

    session.script.answers = answers  # type: ignore[method-assign]
    return session


def test_a_template_and_its_code_are_sent_once_per_stream(recorded: LoopbackSession) -> None:
    scope = recorded.scope()
    assert [submit_one(double, scope, (n,), {}).result() for n in range(2)] == [0, 2]
    first, second = frames_with_runs(recorded)
    assert (len(first.templates), len(first.blobs)) == (1, 1)
    assert (len(second.templates), len(second.blobs)) == (0, 0)
    recorded.reconnect()
    submit_one(double, scope, (3,), {})
    again = frames_with_runs(recorded)[-1]
    assert (len(again.templates), len(again.blobs)) == (1, 0), "the server has the code already"


def test_no_more_batches_than_the_window_are_in_flight(recorded: LoopbackSession) -> None:
    recorded.script.acknowledge = recorded.script.execute = False
    recorded.script.window = 2
    recorded.reconnect()
    for n in range(5):
        submit_one(double, recorded.scope(), (n,), {})
    assert [batch.number for batch in frames_with_runs(recorded)] == [1, 2]
    recorded.in_flight.on_frame(pb.SessionFrame(submitted_up_to=1))
    recorded.wake()
    assert [batch.number for batch in frames_with_runs(recorded)] == [1, 2, 3]


def test_after_a_reconnect_unacknowledged_batches_are_sent_again(recorded: LoopbackSession) -> None:
    recorded.script.acknowledge = recorded.script.execute = False
    future = submit_one(double, recorded.scope(), (4,), {})
    recorded.script.execute = recorded.script.acknowledge = True
    recorded.reconnect()
    first, again = frames_with_runs(recorded)
    assert (again.number, again.resend, list(again.groups[0].run_ids)) == (1, True, [future.run_id])
    assert list(first.groups[0].args) == list(again.groups[0].args)
    assert len(again.blobs) == 1, "the code may have been lost with the batch"
    assert future.result() == 8


def test_after_a_reconnect_acknowledged_open_runs_are_subscribed(recorded: LoopbackSession) -> None:
    recorded.script.execute = False
    future = submit_one(double, recorded.scope(), (4,), {})
    recorded.script.results[future.run_id] = pb.RunOutcome(run_id=future.run_id, state=RunState.CANCELLED)
    recorded.reconnect()
    assert len(frames_with_runs(recorded)) == 1, "it was durable, so it is not sent again"
    assert list(recorded.script.frames[-1].subscribe) == [future.run_id]
    state = future.wait(0)
    assert state is not None
    assert state.is_cancelled()


def test_after_a_reconnect_unanswered_flow_reports_are_sent_again(recorded: LoopbackSession) -> None:
    flow_run, lost = new_id(), True
    accept = recorded.script.decide

    def decide(report: pb.FlowReport) -> pb.FlowDecision:
        return pb.FlowDecision(run_id=new_id()) if lost else accept(report)

    recorded.script.decide = decide
    decision = recorded.report_end(pb.FlowReport(run_id=flow_run, event=FlowEvent.SUCCEEDED))
    assert not decision.done()
    lost = False
    recorded.reconnect()
    assert decision.result(0).state == RunState.COMPLETED
    recorded.reconnect()
    assert recorded.script.flow_events == [FlowEvent.SUCCEEDED] * 2, "answered reports are not repeated"


def test_after_a_reconnect_requests_to_end_runs_are_sent_again(recorded: LoopbackSession) -> None:
    recorded.script.execute = False
    ended, cancelled, withdrawn = (submit_one(double, recorded.scope(), (n,), {}) for n in range(3))
    recorded.cancel([ended.run_id, cancelled.run_id])
    recorded.withdraw([withdrawn.run_id])
    outcome = pb.RunOutcome(run_id=ended.run_id, state=RunState.CANCELLED)
    recorded.in_flight.on_frame(pb.SessionFrame(results=pb.ResultBatch(others=[outcome])))
    for _ in range(2):
        before = len(recorded.script.frames)
        recorded.reconnect()
        [again] = recorded.script.frames[before:]
        assert (list(again.cancel), list(again.withdraw)) == ([cancelled.run_id], [withdrawn.run_id])


def test_a_request_to_end_a_run_does_not_overtake_its_batch_when_repeated(
    recorded: LoopbackSession,
) -> None:
    recorded.script.acknowledge = recorded.script.execute = False
    future = submit_one(double, recorded.scope(), (1,), {})
    recorded.cancel([future.run_id])
    before = len(recorded.script.frames)
    recorded.reconnect()
    batch, request = recorded.script.frames[before:]
    assert list(batch.submit.groups[0].run_ids) == list(request.cancel) == [future.run_id]


def test_a_request_to_cancel_is_not_forgotten_for_one_to_withdraw(recorded: LoopbackSession) -> None:
    recorded.script.execute = False
    future = submit_one(double, recorded.scope(), (1,), {})
    recorded.cancel([future.run_id])
    recorded.withdraw([future.run_id])
    before = len(recorded.script.frames)
    recorded.reconnect()
    [again] = recorded.script.frames[before:]
    assert list(again.cancel) == [future.run_id], "it may have been lost, and the run may have started"


def test_batches_acknowledged_meanwhile_are_not_sent_again(recorded: LoopbackSession) -> None:
    recorded.script.acknowledge = recorded.script.execute = False
    for n in range(3):
        submit_one(double, recorded.scope(), (n,), {})
    before = len(recorded.script.frames)
    recorded.in_flight.on_welcome(recorded.script.welcome().welcome)
    recorded.in_flight.on_frame(pb.SessionFrame(submitted_up_to=2))
    recorded.script.acknowledge = True
    recorded.wake()
    assert [frame.submit.number for frame in recorded.script.frames[before:]] == [3]


def test_an_answer_to_an_earlier_attempt_is_not_taken_for_the_next_one(session: LoopbackSession) -> None:
    flow_run = new_id()
    again = pb.FlowDecision(run_id=flow_run, state=RunState.AWAITING_RETRY, attempt=2)
    session.script.decide = lambda report: again
    first = session.report_end(pb.FlowReport(run_id=flow_run, attempt=1, event=FlowEvent.FAILED))
    assert first.result(0).attempt == 2
    second = session.report_end(pb.FlowReport(run_id=flow_run, attempt=2, event=FlowEvent.FAILED))
    assert not second.done(), "that was said about the first attempt"
    session.in_flight.on_frame(
        pb.SessionFrame(flow_decisions=[pb.FlowDecision(run_id=flow_run, state=RunState.FAILED, attempt=2)])
    )
    assert second.result(0).state == RunState.FAILED


def test_a_refused_run_raises_the_typed_error(session: LoopbackSession) -> None:
    session.script.refuse = lambda run_id: errors_pb2.ErrorDetail(reason=ErrorReason.INVALID_REQUEST)
    future = submit_one(double, session.scope(), (1,), {})
    with pytest.raises(InvalidRequest, match="scripted refusal"):
        future.result(0)
    assert isinstance(future.result(0, raise_on_failure=False), InvalidRequest)


def test_a_run_refused_by_an_overloaded_server_is_submitted_again(
    session: LoopbackSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    class Loop:
        def call_later(self, delay: float, callback: object) -> None:
            waits.append(delay)
            session.script.refuse = lambda run_id: None
            callback()  # type: ignore[operator]

    monkeypatch.setattr("taskyard._network.session.session.loop_thread.loop", Loop)
    overloaded = errors_pb2.ErrorDetail(reason=ErrorReason.OVERLOADED, retry_after_ms=250)
    session.script.refuse = lambda run_id: overloaded
    assert submit_one(double, session.scope(), (21,), {}).result(0) == 42
    assert waits == [0.25]


@pytest.mark.parametrize(
    "reason", [ErrorReason.STORAGE_FULL, ErrorReason.RUN_NOT_FOUND, ErrorReason.OVERLOADED]
)
def test_code_of_refused_runs_is_sent_again_on_a_new_stream(
    recorded: LoopbackSession, reason: ErrorReason
) -> None:
    """Whatever they were refused for: the batch is acknowledged, but nothing says that its code is stored."""
    refusal = errors_pb2.ErrorDetail(reason=reason, run_id=b"f" * 16)  # type: ignore[arg-type]
    recorded.script.refuse = lambda run_id: refusal
    with pytest.raises(TaskyardError):
        submit_one(double, recorded.scope(), (1,), {}).result(0)
    recorded.script.refuse = lambda run_id: None
    recorded.reconnect()
    assert submit_one(double, recorded.scope(), (2,), {}).result(0) == 4
    recorded.reconnect()
    assert submit_one(double, recorded.scope(), (3,), {}).result(0) == 6
    assert [len(batch.blobs) for batch in frames_with_runs(recorded)] == [1, 1, 0]


def test_code_is_stored_with_the_first_of_its_runs_that_was_taken(recorded: LoopbackSession) -> None:
    recorded.script.acknowledge = recorded.script.execute = False
    first, _ = (submit_one(double, recorded.scope(), (n,), {}) for n in range(2))
    full = errors_pb2.ErrorDetail(reason=ErrorReason.STORAGE_FULL)
    refused = pb.RefusedRun(run_id=first.run_id, error=full, message="no room")
    recorded.in_flight.on_frame(pb.SessionFrame(refused=[refused]))
    recorded.in_flight.on_frame(pb.SessionFrame(submitted_up_to=2))
    recorded.reconnect()
    submit_one(double, recorded.scope(), (3,), {})
    assert [len(batch.blobs) for batch in frames_with_runs(recorded)] == [1, 0, 0]


def test_overload_without_a_delay_is_an_error(session: LoopbackSession) -> None:
    session.script.refuse = lambda run_id: errors_pb2.ErrorDetail(reason=ErrorReason.OVERLOADED)
    with pytest.raises(Overloaded):
        submit_one(double, session.scope(), (1,), {}).result(0)


def test_a_session_that_cannot_go_on_fails_everything_awaited(session: LoopbackSession) -> None:
    session.script.execute = False
    future = submit_one(double, session.scope(), (1,), {})
    decision = session.report_end(pb.FlowReport(run_id=new_id(), event=FlowEvent.SUCCEEDED))
    session.fail(Superseded("another process has this session"))
    with pytest.raises(Superseded):
        future.result(0)
    assert decision.done()
    with pytest.raises(Superseded):
        session.report_end(pb.FlowReport(run_id=new_id(), event=FlowEvent.SUCCEEDED)).result(0)


@pytest.mark.parametrize("count", [1, 1001])
def test_log_records_of_an_outage_go_between_their_run_and_its_end(
    recorded: LoopbackSession, count: int
) -> None:
    welcome = recorded.script.welcome().welcome
    welcome.acknowledges_logs = True
    recorded.in_flight.on_welcome(welcome)
    recorded.log((new_id(), 5, 20, "taskyard.flow_runs", "not acknowledged", "name"))
    state, flow, frames = recorded.in_flight, new_id(), recorded.script.frames
    frames.clear()
    recorded.script.execute = False
    group = RunGroup(GroupKey(Template(template_pb2.RunTemplate(name="flow")), b"", b""), 0)
    group.add(flow, b"{}", None, None, None)
    state._outbox.add(group)
    for number in range(count):
        state._logs.add((flow, number, 20, "taskyard.flow_runs", "text", "name"))
    state._outbox.add(pb.FlowReport(run_id=flow, event=FlowEvent.SUCCEEDED))
    state.on_welcome(welcome)
    recorded.wake()
    submitted = next(at for at, frame in enumerate(frames) if frame.HasField("submit"))
    reported = next(at for at, frame in enumerate(frames) if frame.flow_reports)
    logged = {at: len(frame.logs.run_ids) for at, frame in enumerate(frames) if flow in frame.logs.run_ids}
    assert sum(logged.values()) == count
    assert submitted <= min(logged)
    assert max(logged) <= reported


def test_log_records_travel_in_columns(recorded: LoopbackSession) -> None:
    run_id = new_id()
    recorded.log((run_id, 5, 20, "taskyard.flow_runs", "text", "name"))
    logs = recorded.script.frames[-1].logs
    assert (list(logs.run_ids), list(logs.at_us), list(logs.levels)) == ([run_id], [5], [20])
    assert (list(logs.messages), list(logs.run_names)) == (["text"], ["name"])


def test_a_cancel_request_reaches_its_flow_run_only(session: LoopbackSession) -> None:
    mine, other, called = new_id(), new_id(), []
    session.on_cancel(mine, lambda: called.append("mine"))
    session.in_flight.on_frame(pb.SessionFrame(cancel_requests=[other]))
    assert called == []
    session.in_flight.on_frame(pb.SessionFrame(cancel_requests=[mine]))
    assert called == ["mine"]


def test_a_flow_run_that_was_given_up_stops_its_body(session: LoopbackSession) -> None:
    mine, called = new_id(), []
    session.on_cancel(mine, lambda: called.append("stop"))
    decision = pb.FlowDecision(run_id=mine, state=RunState.CRASHED)
    session.in_flight.on_frame(pb.SessionFrame(flow_decisions=[decision]))
    assert called == ["stop"]
