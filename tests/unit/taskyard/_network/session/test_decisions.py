"""Bodies of flows are stopped while they run, and answers reach those who wait for them."""

from taskyard._network.session.decisions import Decisions
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.errors import Superseded
from taskyard_contract.states import FlowEvent, RunState

RUN, OTHER = bytes(range(16)), bytes(range(16, 32))


def report(attempt: int = 1) -> pb.FlowReport:
    return pb.FlowReport(run_id=RUN, attempt=attempt, event=FlowEvent.FAILED)  # type: ignore[arg-type]


def answer(state: RunState, attempt: int = 0) -> pb.FlowDecision:
    return pb.FlowDecision(run_id=RUN, state=state, attempt=attempt)  # type: ignore[arg-type]


def test_a_body_is_stopped_only_while_it_runs() -> None:
    decisions, stopped = Decisions(), list[bytes]()
    decisions.listen(RUN, lambda: stopped.append(RUN))
    decisions.listen(OTHER, lambda: stopped.append(OTHER))
    decisions.stop(RUN)
    decisions.ignore(RUN)
    decisions.stop(RUN)
    assert stopped == [RUN]


def test_a_final_answer_that_nobody_waits_for_stops_the_body() -> None:
    decisions, stopped = Decisions(), list[int]()
    decisions.listen(RUN, lambda: stopped.append(1))
    decisions.decide(answer(RunState.RUNNING))
    assert stopped == [], "that answers a start"
    decisions.decide(answer(RunState.CRASHED))
    assert stopped == [1]


def test_reports_are_repeated_until_they_are_answered() -> None:
    decisions = Decisions()
    expected = decisions.expect(RUN)
    decisions.sent([report(attempt=2)])
    decisions.decide(answer(RunState.AWAITING_RETRY, attempt=2))
    assert not expected.done(), "an echo of what the first attempt was told"
    again = decisions.take_unanswered()
    assert [one.attempt for one in again] == [2]
    decisions.sent(again)
    decisions.decide(answer(RunState.FAILED, attempt=2))
    assert int(expected.result(0).state) == RunState.FAILED
    assert decisions.take_unanswered() == []


def test_when_no_answer_can_come_everybody_who_waits_is_told() -> None:
    decisions, error = Decisions(), Superseded("another process")
    waiting = [decisions.expect(run_id) for run_id in (RUN, OTHER)]
    decisions.fail_all(error)
    assert [one.exception(0) for one in waiting] == [error, error]
