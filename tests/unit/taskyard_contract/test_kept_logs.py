"""What runs logged is kept like their reports until it is durable, within bounds."""

from typing import Any

import pytest

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import session_service_pb2
from taskyard_contract.agent_link import outbox, pending
from taskyard_contract.agent_link.handler import Demand, Identity
from taskyard_contract.agent_link.session import LinkSession

WELCOME = pb.AgentWelcome(protocol=1, lease_ms=30_000, heartbeat_ms=5_000)


class Idle:
    """Executes nothing."""

    def demand(self) -> Demand:
        return Demand(0, 0, 1)

    def held(self) -> list[pb.RunKey]:
        return []

    def on_welcome(self, welcome: Any) -> None:
        """Nobody is told."""

    def on_doubt(self, doubtful: bool) -> None:
        """Nobody is told."""


def reopen(session: LinkSession, reported_up_to: int = 0) -> None:
    session.hello(0.0)
    session.welcomed(pb.ServerFrame(welcome=WELCOME, reported_up_to=reported_up_to))


@pytest.fixture
def session() -> LinkSession:
    made = LinkSession(Identity("a", b"s" * 16, "a", ("default",), 1), Idle())  # type: ignore[arg-type]
    reopen(made)
    sent(made)
    return made


def batch(*numbers: int, size: int = 0) -> session_service_pb2.LogBatch:
    count = len(numbers)
    return session_service_pb2.LogBatch(
        run_ids=[b"r" * 16] * count,
        at_us=numbers,
        levels=[20] * count,
        loggers=["l"] * count,
        messages=["x" * size] * count,
        run_names=["n"] * count,
    )


def sent(session: LinkSession) -> list[tuple[int, list[int]]]:
    frames = []
    while (frame := session.next_frame()) is not None:
        frames.append((frame.report_number, list(frame.logs.at_us)))
    return frames


def test_logs_without_reports_are_numbered_and_kept(session: LinkSession) -> None:
    session.log(batch(1, 2))
    assert not session.settled
    assert sent(session) == [(1, [1, 2])]
    reopen(session)
    assert sent(session) == [(1, [1, 2])]
    session.received(pb.ServerFrame(reported_up_to=1), 0.0)
    assert session.settled
    reopen(session)
    assert sent(session) == []


def test_logs_of_a_time_without_a_stream_are_kept(session: LinkSession) -> None:
    session.log(batch(1))
    session.hello(0.0)
    session.log(batch(2))
    session.welcomed(pb.ServerFrame(welcome=WELCOME))
    assert sent(session) == [(1, [1]), (2, [2])]


def test_of_logs_that_wait_the_oldest_are_dropped(
    session: LinkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending, "MOST_PENDING_LOG_BYTES", 5000)
    for number in range(10):
        session.log(batch(number, size=1000))
    ((_, kept),) = sent(session)
    assert kept == list(range(10 - len(kept), 10))
    assert (3 <= len(kept) <= 5, session.dropped_logs) == (True, 10 - len(kept))


def test_of_unacknowledged_logs_the_oldest_are_not_repeated(
    session: LinkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MOST_LOG_BYTES", 5000)
    for number in range(10):
        session.log(batch(number, size=1000))
        sent(session)
    assert session.dropped_logs == 0, "they have been sent"
    reopen(session, reported_up_to=2)
    again = sent(session)
    assert [number for number, _ in again] == list(range(3, 11)), "reports may be in the same frames"
    repeated = [record for _, records in again for record in records]
    assert repeated == list(range(10 - len(repeated), 10))
    assert session.dropped_logs == 10 - 2 - len(repeated)
