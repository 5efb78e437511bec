"""What comes through a worker's pipes, and whose it is."""

import os
from collections.abc import Iterator
from itertools import chain, groupby, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard_agent.processes.output.pipes import Pipe
from taskyard_agent.runner.output.lines import MAX_LINE
from taskyard_agent.runner.output.printed import STDOUT

MARK = b"\xff\0" + bytes(range(14))
OTHER = b"o" * 16


class Feed:
    """A pipe, of which the test says when something comes."""

    def __init__(self, announced: bool = False) -> None:
        near, self.far = os.pipe()
        os.set_blocking(near, False)
        self.pipe = Pipe(near, STDOUT, announced)
        self.executing = self.before = OTHER
        """Which run executes once all has been written that comes, and before."""

    def read(self, data: bytes = b"") -> list[tuple[bytes, bytes]]:
        os.write(self.far, data)
        asked = chain([self.before], repeat(self.executing))
        told = [
            (piece.run_id, piece.data) for piece in self.pipe.read(MARK, lambda marked: marked or next(asked))
        ]
        self.before = self.executing
        return told

    def rest(self) -> list[tuple[bytes, bytes]]:
        return [(piece.run_id, piece.data) for piece in self.pipe.rest()]

    def close(self) -> None:
        os.close(self.far)
        os.close(self.pipe.descriptor)


@pytest.fixture
def feed() -> Iterator[Feed]:
    made = Feed()
    yield made
    made.close()


RUNS = st.lists(
    st.tuples(
        st.integers(0, 3).map(lambda number: bytes([number]) * 16),
        st.lists(st.sampled_from([b"a", b"\n", b"\xff", b"\xff\0", b"line\n", b"\0", MARK[:9]]), max_size=6),
    ),
    max_size=6,
)


def merged(told: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Put together what follows each other of one run."""
    groups = groupby((one for one in told if one[1]), key=lambda one: one[0])
    return [(run_id, b"".join(data for _, data in group)) for run_id, group in groups]


def whole_marks(written: bytes) -> int:
    return sum(written.startswith(MARK, at) and len(written) >= at + 32 for at in range(len(written)))


def ended(text: bytes) -> bytes:
    return text if text.endswith(b"\n") or not text else text + b"\n"


@given(RUNS, st.lists(st.integers(1, 40), min_size=1), st.booleans())
def test_marks_say_whose_it_was_however_it_is_cut(
    runs: list[tuple[bytes, list[bytes]]], cuts: list[int], is_late: bool
) -> None:
    written = b"".join(b"".join(parts) + MARK + run_id for run_id, parts in runs)
    owners = [*(run_id for run_id, _ in runs), OTHER]
    feed, told, position = Feed(), [], 0
    try:
        while position < len(written):
            size = cuts[position % len(cuts)]
            feed.executing = owners[whole_marks(written[: position + size])]
            # It is asked before a read who executes: before any of it was written, or after all of it was.
            feed.before = feed.executing if is_late else owners[whole_marks(written[:position])]
            told += feed.read(written[position : position + size])
            position += size
        told += feed.rest()
    finally:
        feed.close()
    assert merged(told) == merged([(run_id, ended(b"".join(parts))) for run_id, parts in runs])


def test_what_follows_a_mark_is_of_the_run_that_executes_now(feed: Feed) -> None:
    run, later = b"r" * 16, b"l" * 16
    feed.executing = later
    told = feed.read(b"its own\n" + MARK + run + b"of the next one\n")
    assert told == [(run, b"its own\n"), (later, b"of the next one\n")]


def test_a_line_that_a_run_has_begun_ends_with_it(feed: Feed) -> None:
    run = b"r" * 16
    feed.before = feed.executing = run
    assert feed.read(b"begun") == []
    feed.executing = OTHER
    assert feed.read(MARK + run) == [(run, b"begun\n")]
    assert feed.rest() == []


def test_ids_may_end_like_marks_begin(feed: Feed) -> None:
    run = b"r" * 15 + MARK[:1]
    assert feed.read(b"x\n" + MARK + run) == [(run, b"x\n")]
    assert feed.read(b"y\n") == [(OTHER, b"y\n")]


def test_long_lines_are_cut(feed: Feed) -> None:
    feed.read(b"z" * MAX_LINE)
    ((_, data),) = feed.read(b"z\n")
    assert data.startswith(b"z" * MAX_LINE + b"... (cut")


def test_a_pipe_that_everybody_has_closed_is_ended() -> None:
    feed = Feed()
    os.close(feed.far)
    assert list(feed.pipe.read(MARK, lambda marked: OTHER)) == []
    assert feed.pipe.ended
    os.close(feed.pipe.descriptor)


@pytest.fixture
def lane() -> Iterator[Feed]:
    made = Feed(announced=True)
    yield made
    made.close()


A, B = b"a" * 16, b"b" * 16


def test_in_a_lane_marks_say_whose_what_follows_is(lane: Feed) -> None:
    told = lane.read(b"nobody's\n" + MARK + A + b"of a\nhalf" + MARK + B + b"of b\n")
    assert told == [(OTHER, b"nobody's\n"), (A, b"of a\n"), (A, b"half\n"), (B, b"of b\n")]
    assert lane.read(b"more\n") == [(B, b"more\n")]
    assert lane.read(MARK[:5]) == []
    assert lane.read(MARK[5:] + A + b"again\n") == [(A, b"again\n")]


def test_a_run_of_a_lane_that_ends_has_its_line_ended(lane: Feed) -> None:
    assert lane.read(MARK + A + b"half") == []
    assert list(lane.pipe.end_those_of([B])) == []
    assert [(piece.run_id, piece.data) for piece in lane.pipe.end_those_of([B, A])] == [(A, b"half\n")]
