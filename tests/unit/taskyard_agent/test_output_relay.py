"""What runs print is passed on in pieces that servers take."""

from taskyard_agent.processes.output_relay import BATCH_BYTES, PIECE_BYTES, batches_of, parts_of
from taskyard_agent.runner.output.printed import STDOUT
from taskyard_agent.runner.progress_board import Piece


def piece(data: bytes) -> Piece:
    return Piece(b"r" * 16, 5, STDOUT, data)


def test_what_is_short_is_passed_on_as_it_is() -> None:
    one = piece(b"x" * PIECE_BYTES)
    assert list(parts_of(one)) == [one]


def test_a_long_text_is_cut_between_lines() -> None:
    text = b"".join(b"line %d\n" % number for number in range(100_000))
    parts = list(parts_of(piece(text)))
    assert b"".join(part.data for part in parts) == text
    assert all(part.data.endswith(b"\n") and len(part.data) <= PIECE_BYTES for part in parts)
    assert {part[:3] for part in parts} == {(b"r" * 16, 5, STDOUT)}


def test_what_has_no_lines_is_cut_anywhere() -> None:
    text = b"x" * (3 * PIECE_BYTES + 1)
    assert [len(part.data) for part in parts_of(piece(text))] == [PIECE_BYTES] * 3 + [1]


def test_batches_are_bounded_and_all_is_in_them() -> None:
    pieces = [piece(b"x" * (PIECE_BYTES - 1) + b"\n")] * 40
    batches = list(batches_of(pieces))
    sizes = [sum(map(len, batch.data)) for batch in batches]
    assert sum(sizes) == 40 * PIECE_BYTES
    assert max(sizes) <= BATCH_BYTES
    assert list(batches_of([])) == []
