"""Log records of a session are kept until they are durable, in bounds, and sent again under their numbers."""

from typing import Any

import pytest

from taskyard._network.session import log_outbox
from taskyard._network.session.log_outbox import LOGS_PER_FRAME, LogOutbox
from taskyard_api.v1 import session_service_pb2 as pb


def entry(number: int, size: int = 0) -> Any:
    return (b"r" * 16, number, 20, "tests", f"{number} " + "x" * size, "run")


def outbox(acknowledges: bool = True) -> LogOutbox:
    made = LogOutbox()
    made.on_new_stream(acknowledges)
    return made


def sent(box: LogOutbox) -> list[tuple[int, list[int]]]:
    """Send all there is; returns the number of each batch, and which records it has."""
    frames = []
    while box.pending:
        frame = pb.ClientFrame()
        box.write_into(frame)
        frames.append((frame.logs_number, list(frame.logs.at_us)))
    return frames


def test_batches_are_numbered_and_forgotten_when_they_are_durable() -> None:
    box = outbox()
    for number in range(2 * LOGS_PER_FRAME + 1):
        box.add(entry(number))
    assert box.crowded
    assert [(number, len(records)) for number, records in sent(box)] == [
        (1, LOGS_PER_FRAME), (2, LOGS_PER_FRAME), (3, 1)
    ]  # fmt: skip
    box.acknowledge(2)
    box.on_new_stream(True)
    assert sent(box) == [(3, [2 * LOGS_PER_FRAME])]
    box.acknowledge(3)
    box.on_new_stream(True)
    assert (sent(box), box.pending, box.crowded) == ([], False, False)


def test_what_is_new_comes_after_what_is_sent_again() -> None:
    box = outbox()
    box.add(entry(1))
    sent(box)
    box.add(entry(2))
    box.on_new_stream(True)
    assert box.crowded, "one frame does not take both"
    assert sent(box) == [(1, [1]), (2, [2])]


def test_an_acknowledgement_during_the_repetition_ends_it() -> None:
    box = outbox()
    for number in (1, 2):
        box.add(entry(number))
        sent(box)
    box.on_new_stream(True)
    box.acknowledge(1)
    assert sent(box) == [(2, [2])]


def test_nothing_is_kept_for_a_server_that_acknowledges_nothing() -> None:
    box = outbox(acknowledges=False)
    box.add(entry(1))
    assert sent(box) == [(0, [1])]
    box.on_new_stream(False)
    assert not box.pending


def test_no_more_than_a_window_is_unacknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_outbox, "MOST_UNACKNOWLEDGED_BYTES", 3000)
    box = outbox()
    for number in range(3 * LOGS_PER_FRAME):
        box.add(entry(number))
    (first,) = sent(box)
    assert (box.pending, box.crowded) == (False, False), "nobody waits for what cannot be sent"
    box.acknowledge(first[0])
    assert [number for number, _ in sent(box)] == [2]


def test_of_what_waits_the_oldest_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_outbox, "MOST_WAITING_BYTES", 10_000)
    box = outbox()
    for number in range(100):
        box.add(entry(number, 1000))
    ((_, records),) = sent(box)
    assert records == list(range(100 - len(records), 100))
    assert 5 < len(records) < 10
    assert box.dropped == 100 - len(records)
