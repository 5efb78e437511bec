"""What runs print, in their worker."""

import os
from collections.abc import Iterator

import pytest

from taskyard_agent.runner import progress_board
from taskyard_agent.runner.output.printed import DESCRIPTORS, MAX_UNSENT, STDERR, STDOUT, Output, current_run
from taskyard_api.v1 import session_service_pb2 as pb

A, B = b"a" * 16, b"b" * 16


class Place:
    """A worker's output, with pipes that the test reads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        descriptor = progress_board.create()
        self.board = progress_board.BoardWriter(descriptor)
        self.seen = progress_board.BoardReader(descriptor)
        os.close(descriptor)
        self.run = A
        self.flushes = 0
        self.output = Output(self.board, lambda: self.run, self._flush)
        self.sent: list[tuple[bytes, int, bytes]] = []
        self._pipes = {stream: os.pipe() for stream in DESCRIPTORS}
        for near, far in self._pipes.values():
            os.set_blocking(near, False)
            assert far > 2
        monkeypatch.setattr(
            "taskyard_agent.runner.output.printed.DESCRIPTORS",
            {stream: far for stream, (_, far) in self._pipes.items()},
        )

    def _flush(self) -> None:
        self.flushes += 1
        batch = self.output.take()
        if batch is not None:
            self.sent += zip(batch.run_ids, batch.streams, batch.data, strict=True)
            self.output.sent()

    def flush(self) -> list[tuple[bytes, int, bytes]]:
        self._flush()
        sent, self.sent = self.sent, []
        return sent

    def piped(self, stream: int) -> bytes:
        try:
            return os.read(self._pipes[stream][0], 65536)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        self.board.map.close()
        self.seen.close()
        for ends in self._pipes.values():
            for end in ends:
                os.close(end)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    made = Place(monkeypatch)
    yield made
    made.close()


def test_lines_of_runs_come_in_order_and_those_of_one_run_together(place: Place) -> None:
    place.output.write(STDOUT, b"one\n")
    place.output.write(STDOUT, b"two\n")
    place.output.write(STDERR, b"three\n")
    place.run = B
    place.output.write(STDERR, b"four\n")
    assert place.flush() == [
        (A, STDOUT, b"one\ntwo\n"),
        (A, STDERR, b"three\n"),
        (B, STDERR, b"four\n"),
    ]
    assert place.flush() == []


def test_a_line_in_several_writes_is_one(place: Place) -> None:
    for part in (b"a", b" ", b"b", b"\n"):
        place.output.write(STDOUT, part)
    assert place.flush() == [(A, STDOUT, b"a b\n")]


def test_a_run_that_leaves_a_line_open_has_it_ended(place: Place) -> None:
    assert not place.output.loose
    place.output.write(STDOUT, b"half")
    assert place.output.loose
    assert place.flush() == []
    place.output.settle()
    place.run = B
    place.output.write(STDOUT, b"next\n")
    assert place.flush() == [(A, STDOUT, b"half\n"), (B, STDOUT, b"next\n")]
    assert not place.output.loose


def test_a_line_that_goes_on_is_sent_in_parts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskyard_agent.runner.output.printed.HOLD_NS", 0)
    place.output.write(STDOUT, b"50 %")
    assert place.flush() == [(A, STDOUT, b"50 %")]
    place.output.write(STDOUT, b" 100 %\n")
    assert place.flush() == [(A, STDOUT, b" 100 %\n")]


def test_runs_in_one_process_have_lines_of_their_own(place: Place) -> None:
    place.output.write(STDOUT, b"of a, ")
    token = current_run.set(B)
    place.output.write(STDOUT, b"of b\n")
    current_run.reset(token)
    place.output.write(STDOUT, b"again\n")
    assert place.flush() == [(B, STDOUT, b"of b\n"), (A, STDOUT, b"of a, again\n")]


def test_of_runs_in_one_process_the_one_that_ends_has_its_line_ended(place: Place) -> None:
    place.output.write(STDOUT, b"of a, ")
    token = current_run.set(B)
    place.output.write(STDOUT, b"of b")
    place.output.ended(B)
    current_run.reset(token)
    assert place.output.loose
    place.output.write(STDOUT, b"again\n")
    place.output.ended(A)
    assert not place.output.loose
    assert place.flush() == [(B, STDOUT, b"of b\n"), (A, STDOUT, b"of a, again\n")]


def test_what_starts_other_programs_beside_others_prints_in_order_with_them(place: Place) -> None:
    output = place.output
    output.is_shared = True
    output.write(STDOUT, b"before\nbegun, ")
    output.child_begins()
    assert place.sent == [(A, STDOUT, b"before\n")]
    assert place.piped(STDOUT) == output.mark + A + b"begun, "
    output.write(STDOUT, b"ended\n")
    token = current_run.set(B)
    output.write(STDOUT, b"of b\n")
    output.child_begins()
    output.write(STDOUT, b"half")
    output.ended(B)
    current_run.reset(token)
    output.write(STDOUT, b"again\n")
    piped = b"ended\n" + output.mark + B + b"half\n" + output.mark + A + b"again\n"
    assert place.piped(STDOUT) == piped
    assert place.sent[1:] == [(B, STDOUT, b"of b\n")]
    assert place.piped(STDERR) == output.mark + A + output.mark + B
    output.ended(A)
    assert not output.loose
    output.write(STDOUT, b"later\n")
    assert place.flush()[2:] == [(A, STDOUT, b"later\n")]


def test_the_agent_is_told_that_something_waits(place: Place) -> None:
    told: list[int] = []
    place.output.on_unsent = lambda: told.append(place.output.unsent)
    place.output.write(STDOUT, b"begun")
    place.output.write(STDOUT, b" and ended\n")
    assert told[-1] == 1
    place.flush()
    assert place.output.unsent == 0


def test_much_is_sent_at_once(place: Place) -> None:
    for _ in range(3):
        place.output.write(STDOUT, b"x" * (MAX_UNSENT // 2) + b"\n")
    assert place.flushes == 1
    assert sum(len(data) for _, _, data in place.sent) > MAX_UNSENT


def test_last_words_are_on_the_board(place: Place) -> None:
    place.output.write(STDOUT, b"one\n")
    place.flush()
    place.output.write(STDOUT, b"two\n")
    place.output.write(STDERR, b"three\n")
    told = [(piece.run_id, piece.stream, piece.data) for piece in place.seen.shelved()]
    assert told == [(A, STDOUT, b"two\n"), (A, STDERR, b"three\n")]
    place.flush()
    assert list(place.seen.shelved()) == []


def test_what_the_board_has_no_room_for_is_only_sent(place: Place) -> None:
    lines = b"y" * 1000 + b"\n"
    place.output.write(STDOUT, lines * 200)
    assert list(place.seen.shelved()) == []
    assert place.sent == [(A, STDOUT, lines * 200)]


def test_beside_other_programs_everything_goes_through_the_pipes(place: Place) -> None:
    place.output.write(STDOUT, b"before\n")
    place.output.write(STDOUT, b"half")
    place.output.child_begins()
    assert place.sent == [(A, STDOUT, b"before\n")]
    place.output.write(STDOUT, b" a line\n")
    place.output.write(STDERR, b"error")
    place.output.child_begins()
    assert place.piped(STDOUT) == b"half a line\n"
    place.output.settle()
    assert place.piped(STDOUT) == place.output.mark + A
    assert place.piped(STDERR) == b"error\n" + place.output.mark + A
    place.output.write(STDOUT, b"after\n")
    assert place.piped(STDOUT) == b""
    assert place.flush() == [(A, STDOUT, b"before\n"), (A, STDOUT, b"after\n")]


def test_a_flush_lets_the_beginning_of_a_line_into_the_pipe(place: Place) -> None:
    place.output.write(STDOUT, b"begun")
    place.output.flush(STDOUT)
    assert place.flush() == []
    place.output.child_begins()
    place.output.write(STDOUT, b" and held")
    assert place.piped(STDOUT) == b"begun"
    place.output.flush(STDOUT)
    assert place.piped(STDOUT) == b" and held"


def test_a_copy_writes_into_the_pipes_and_says_nothing_else(place: Place) -> None:
    place.output.write(STDOUT, b"of the worker\n")
    place.output.become_copy()
    place.output.write(STDOUT, b"of the copy\n")
    place.output.settle()
    assert place.piped(STDOUT) == b"of the copy\n"
    assert place.flush() == []


def test_what_is_said_while_code_is_loaded_goes_into_the_log(place: Place) -> None:
    near, place.output.own_log = os.pipe()
    with place.output.aside():
        place.output.write(STDOUT, b"imported\n")
        place.output.record(b"{}")
    assert os.read(near, 100) == b"imported\n"
    assert place.flush() == []
    os.close(near)
    os.close(place.output.own_log)


def test_records_stay_apart(place: Place) -> None:
    place.output.record(b"{1}")
    place.output.record(b"{2}")
    logger = pb.OUTPUT_STREAM_LOGGER
    assert place.flush() == [(A, logger, b"{1}"), (A, logger, b"{2}")]
