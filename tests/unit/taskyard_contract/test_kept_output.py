"""What runs have printed goes ahead of their reports, is repeated with them, and is bounded."""

import pytest

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import session_service_pb2 as sp
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

    def on_welcome(self, welcome: pb.AgentWelcome) -> None:
        """Nobody is told."""

    def on_doubt(self, doubtful: bool) -> None:
        """Nobody is told."""


@pytest.fixture
def session() -> LinkSession:
    made = LinkSession(Identity("a", b"s" * 16, "a", ("default",), 1), Idle())  # type: ignore[arg-type]
    reopen(made)
    return made


def reopen(session: LinkSession, reported_up_to: int = 0) -> None:
    session.hello(0.0)
    session.welcomed(pb.ServerFrame(welcome=WELCOME, reported_up_to=reported_up_to))


def lines(text: bytes, size: int = 0) -> sp.OutputBatch:
    return sp.OutputBatch(run_ids=[b"r" * 16], at_us=[1], streams=[1], data=[text + b"x" * size])


def sent(session: LinkSession) -> list[pb.AgentFrame]:
    frames = []
    while (frame := session.next_frame()) is not None:
        copy = pb.AgentFrame()
        copy.CopyFrom(frame)
        frames.append(copy)
    return frames


def test_output_comes_before_the_report_that_was_told_after_it(session: LinkSession) -> None:
    big = pending.MAX_OUTPUT_BYTES // 2 + 1
    for number in range(3):
        session.print(lines(b"%d" % number, big))
    session.report(1, b"r" * 16, b"")
    frames = sent(session)
    assert [bool(frame.reports) for frame in frames] == [False, False, True]
    assert [data[:1] for frame in frames for data in frame.output.data] == [b"0", b"1", b"2"]


def test_output_is_repeated_until_its_frame_is_acknowledged(session: LinkSession) -> None:
    session.print(lines(b"a"))
    session.report(1, b"r" * 16, b"")
    [first] = sent(session)
    assert not session.settled or first.report_number == 1
    reopen(session)
    [again] = sent(session)
    assert (again.report_number, list(again.output.data)) == (1, [b"a"])
    reopen(session, reported_up_to=1)
    assert sent(session) == []


def test_without_a_stream_the_oldest_is_dropped_and_counted(
    session: LinkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending, "MOST_PENDING_OUTPUT_BYTES", 1_000)
    for number in range(5):
        session.print(lines(b"%d" % number, 400))
    assert session.dropped_output > 0
    assert [data[:1] for frame in sent(session) for data in frame.output.data] == [b"3", b"4"]


def test_what_is_not_acknowledged_for_long_is_not_kept_for_ever(
    session: LinkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MOST_LOG_BYTES", 1_000)
    for number in range(5):
        session.print(lines(b"%d" % number, 400))
        sent(session)
    reopen(session)
    assert [data[:1] for frame in sent(session) for data in frame.output.data] == [b"3", b"4"]
