"""Polls as a machine: every phase answers every event in one known way."""

from collections.abc import Callable
from typing import Any

import pytest

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.errors import InvalidRequest, Superseded, TaskyardError, UnknownSession
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.polled_exchange import MAX_RUNS, Answer, PolledExchange, PollPhase

ANSWERED, WAITING, LEAVING, OVER = PollPhase
NOTHING = pb.PollResponse()
GONE = Superseded("somebody else")


def request(number: int, max_runs: int = 1, **fields: Any) -> pb.PollRequest:
    return pb.PollRequest(number=number, max_runs=max_runs, chunk_size=1, **fields)


def begun(number: int = 1) -> PolledExchange:
    """Return an exchange whose hello has been answered."""
    agent = AgentSession(pb.AgentHello(agent_id="a", session_id=b"s"), 0.0, 0)
    agent.attach(lambda: None, lambda error: None)
    exchange = PolledExchange(agent, number)
    exchange.welcome(pb.AgentWelcome())
    assert [one.number for one in exchange.take_answers()] == [number]
    return exchange


def assign(exchange: PolledExchange, runs: int = 1) -> None:
    exchange.agent.assign(pb.AssignChunk(run_ids=bytes(16) * runs))


def in_phase(phase: PollPhase) -> PolledExchange:
    """Return an exchange whose newest number is 2, in some phase."""
    exchange = begun()
    exchange.ask(request(2, draining=phase is LEAVING))
    if phase is ANSWERED:
        exchange.release()
    elif phase is OVER:
        exchange.close(GONE)
    exchange.take_answers()
    assert exchange.phase is phase
    return exchange


def say(exchange: PolledExchange) -> None:
    assign(exchange)
    exchange.look()


def look_settled(exchange: PolledExchange) -> None:
    exchange.look()


def look_holding(exchange: PolledExchange) -> None:
    exchange.agent.last_report = 9  # of which nothing is durable yet
    exchange.look()


def ask(number: int, **fields: Any) -> Callable[[PolledExchange], object]:
    return lambda exchange: exchange.ask(request(number, **fields))


def refused(number: int, **fields: Any) -> Callable[[PolledExchange], object]:
    def event(exchange: PolledExchange) -> None:
        error = InvalidRequest if number < exchange.number else UnknownSession
        with pytest.raises(error, match="out of turn"):
            exchange.ask(request(number, **fields))

    return event


def ended(exchange: PolledExchange) -> None:
    with pytest.raises(Superseded):
        exchange.ask(request(2))


def release(exchange: PolledExchange) -> None:
    exchange.release()


def close(exchange: PolledExchange) -> None:
    exchange.close(GONE)


SAID = "the run that was assigned"
DRAINED = pb.PollResponse(drained=True)

# From a phase, by an event, to a phase; and the answers that are made, by number.
TABLE: list[tuple[PollPhase, Callable[[PolledExchange], object], PollPhase, dict[int, object]]] = [
    (ANSWERED, ask(3), WAITING, {}),
    (ANSWERED, ask(3, draining=True), LEAVING, {}),
    (ANSWERED, ask(2), ANSWERED, {}),
    (ANSWERED, ask(2, draining=True), ANSWERED, {}),
    (ANSWERED, refused(1), ANSWERED, {}),
    (ANSWERED, refused(4), ANSWERED, {}),
    (ANSWERED, say, ANSWERED, {}),
    (ANSWERED, look_settled, ANSWERED, {}),
    (ANSWERED, release, ANSWERED, {}),
    (ANSWERED, close, OVER, {}),
    (WAITING, ask(3), WAITING, {2: NOTHING}),
    (WAITING, ask(3, draining=True), LEAVING, {2: NOTHING}),
    (WAITING, ask(2), WAITING, {}),
    (WAITING, ask(2, draining=True), LEAVING, {}),
    (WAITING, refused(1), WAITING, {}),
    (WAITING, refused(4), WAITING, {}),
    (WAITING, say, ANSWERED, {2: SAID}),
    (WAITING, look_settled, WAITING, {}),
    (WAITING, look_holding, WAITING, {}),
    (WAITING, release, ANSWERED, {2: NOTHING}),
    (WAITING, close, OVER, {2: GONE}),
    (LEAVING, ask(3), WAITING, {2: NOTHING}),
    (LEAVING, ask(3, draining=True), LEAVING, {2: NOTHING}),
    (LEAVING, ask(2), WAITING, {}),
    (LEAVING, ask(2, draining=True), LEAVING, {}),
    (LEAVING, refused(1), LEAVING, {}),
    (LEAVING, refused(4), LEAVING, {}),
    (LEAVING, look_settled, OVER, {2: DRAINED}),
    (LEAVING, look_holding, LEAVING, {}),
    (LEAVING, release, ANSWERED, {2: NOTHING}),
    (LEAVING, close, OVER, {2: GONE}),
    (OVER, ended, OVER, {}),
    (OVER, say, OVER, {}),
    (OVER, look_settled, OVER, {}),
    (OVER, release, OVER, {}),
    (OVER, close, OVER, {}),
]


@pytest.mark.parametrize(("before", "event", "after", "answers"), TABLE)
def test_every_phase_answers_every_event(
    before: PollPhase,
    event: Callable[[PolledExchange], object],
    after: PollPhase,
    answers: dict[int, object],
) -> None:
    exchange = in_phase(before)
    event(exchange)
    assert exchange.phase is after
    made = {number: shown(outcome) for number, outcome in exchange.take_answers()}
    assert made == answers


def shown(outcome: pb.PollResponse | TaskyardError) -> object:
    return SAID if isinstance(outcome, pb.PollResponse) and outcome.chunks else outcome


def test_the_table_has_every_phase() -> None:
    assert {before for before, *_ in TABLE} == set(PollPhase)


def test_credit_is_there_only_while_a_poll_waits() -> None:
    exchange = begun()
    frame = exchange.ask(request(2, max_runs=5, nested_only=True))
    assert (frame.credit.granted_total, frame.credit.chunk_size, frame.credit.nested_only) == (5, 1, True)
    exchange.agent.granted = frame.credit.granted_total
    exchange.agent.assigned = 3
    assign(exchange, 3)
    exchange.look()
    assert exchange.agent.credit == 0
    assert not exchange.ask(request(2, max_runs=5)).HasField("credit")  # it has its answer
    assert exchange.ask(request(3, max_runs=5)).credit.granted_total == 3 + 5
    exchange.release()
    assert exchange.agent.granted == 3


def test_what_is_in_no_response_yet_counts_against_the_next_poll() -> None:
    exchange = begun()
    exchange.ask(request(2, max_runs=5))
    exchange.agent.assigned = 2
    exchange.release()
    assert exchange.agent.credit == -2
    exchange.agent.granted = exchange.ask(request(3, max_runs=2)).credit.granted_total
    assert exchange.agent.credit == 0


def test_nobody_gets_more_runs_at_once_than_a_poll_may_have() -> None:
    assert begun().ask(request(2, max_runs=2**32 - 1)).credit.granted_total == MAX_RUNS


def test_acknowledgements_ride_along_but_end_no_wait() -> None:
    exchange = in_phase(WAITING)
    exchange.agent.acknowledge(4)
    exchange.look()
    assert exchange.waits
    exchange.release()
    assert exchange.take_answers() == [Answer(2, pb.PollResponse(reported_up_to=4))]


def test_a_hello_is_answered_with_what_there_is_to_say() -> None:
    agent = AgentSession(pb.AgentHello(agent_id="a", session_id=b"s"), 0.0, 0)
    agent.drain()
    exchange = PolledExchange(agent, 7)
    exchange.welcome(pb.AgentWelcome(lease_ms=5))
    [(number, outcome)] = exchange.take_answers()
    assert (number, outcome) == (7, pb.PollResponse(welcome=pb.AgentWelcome(lease_ms=5), drain=True))
    assert exchange.phase is ANSWERED


@pytest.mark.parametrize(
    ("asked", "hello", "repeats"), [(0, 1, True), (0, 2, False), (2, 1, False), (2, 2, False)]
)
def test_a_hello_is_repeated_until_something_else_was_asked_for(
    asked: int, hello: int, repeats: bool
) -> None:
    exchange = begun(1)
    if asked:
        exchange.ask(request(asked))
    assert exchange.answers_hello(hello) is repeats


def test_a_late_hello_and_one_of_another_agent_replace_nothing() -> None:
    exchange = in_phase(WAITING)
    exchange.check_hello("a", 2)
    with pytest.raises(InvalidRequest, match="late"):
        exchange.check_hello("a", 1)
    with pytest.raises(InvalidRequest, match="another agent"):
        exchange.check_hello("b", 3)


def test_batches_of_reports_come_in_turn_from_whichever_number_on() -> None:
    exchange = begun()
    for number in (5, 6, 6, 5, 7):
        exchange.count_report(number)
    with pytest.raises(UnknownSession, match="8 has not arrived"):
        exchange.count_report(9)


def test_who_has_left_has_to_say_hello_again() -> None:
    exchange = in_phase(LEAVING)
    exchange.look()
    with pytest.raises(UnknownSession):
        exchange.ask(request(3))
