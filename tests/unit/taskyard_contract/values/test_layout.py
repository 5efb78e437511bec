"""Whatever is laid out is found again, and what is not all of it is said to be damaged."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard_contract.values.layout import ALIGNMENT, Damaged, LaidOut, parts_of

HEAD = 64
STREAM = b"a pickle"
BUFFERS = [b"one" * 50, b"", b"three"]
small = st.binary(max_size=200)


def laid_out(stream: list[bytes], buffers: list[bytes]) -> bytes:
    return LaidOut(stream, [memoryview(one) for one in buffers]).joined()


def altered(at: int, number: int, size: int = 8) -> memoryview:
    """Return what was laid out with another number in its head."""
    data = bytearray(laid_out([STREAM], BUFFERS))
    data[at : at + size] = number.to_bytes(size, "little")
    return memoryview(data)


@given(st.lists(small, max_size=4), st.lists(small, max_size=8))
def test_any_buffers_come_back_as_they_were(stream: list[bytes], buffers: list[bytes]) -> None:
    made = LaidOut(stream, [memoryview(one) for one in buffers])
    data = made.joined()
    assert len(data) == made.size == sum(len(piece) for piece in made.pieces)
    found_stream, found = parts_of(memoryview(data))
    assert bytes(found_stream) == b"".join(stream)
    assert [bytes(one) for one in found] == buffers


@given(st.lists(small, max_size=8))
def test_each_buffer_begins_where_vector_instructions_want_it(buffers: list[bytes]) -> None:
    data = laid_out([STREAM], buffers)
    starts = [struct.unpack_from("<Q", data, HEAD + 16 * at)[0] for at in range(len(buffers))]
    assert [start % ALIGNMENT for start in starts] == [0] * len(buffers)


def test_what_is_laid_out_is_not_copied_and_what_is_found_is_a_view() -> None:
    buffer = bytearray(b"b" * 1000)
    made = LaidOut([STREAM], [memoryview(buffer)])
    buffer[0] = 0
    assert made.joined()[-1000:] == bytes(buffer)
    data = bytearray(made.joined())
    _, [found] = parts_of(memoryview(data))
    found[1] = 7
    assert data[-999] == 7


@given(st.integers(min_value=0))
def test_what_is_not_all_there_is_damaged(length: int) -> None:
    data = laid_out([STREAM], BUFFERS)
    with pytest.raises(Damaged):
        parts_of(memoryview(data)[: length % len(data)])


def test_what_has_more_at_its_end_is_damaged() -> None:
    with pytest.raises(Damaged, match="its head says"):
        parts_of(memoryview(laid_out([STREAM], BUFFERS) + b"."))


@given(st.integers(min_value=0, max_value=11), st.integers(min_value=1, max_value=255))
def test_another_beginning_is_no_value_of_this_release(at: int, change: int) -> None:
    data = bytearray(laid_out([STREAM], BUFFERS))
    data[at] ^= change
    with pytest.raises(Damaged, match="does not begin as one of this release"):
        parts_of(memoryview(data))


@given(st.integers(min_value=0, max_value=7), st.integers(min_value=1, max_value=255))
def test_another_size_is_damaged(at: int, change: int) -> None:
    data = bytearray(laid_out([STREAM], BUFFERS))
    data[24 + at] ^= change
    with pytest.raises(Damaged, match="its head says"):
        parts_of(memoryview(data))


@pytest.mark.parametrize("at", [12, 16], ids=["number of buffers", "length of the pickle"])
@pytest.mark.parametrize("number", [1000, (1 << 32) - 1])
def test_a_head_that_says_more_than_there_is_is_damaged(at: int, number: int) -> None:
    with pytest.raises(Damaged):
        parts_of(altered(at, number, 4))


@pytest.mark.parametrize("at", [HEAD, HEAD + 8, HEAD + 40], ids=["start", "length", "length of the last"])
@pytest.mark.parametrize("number", [1000, (1 << 64) - 1])
def test_a_buffer_beyond_the_end_is_damaged(at: int, number: int) -> None:
    with pytest.raises(Damaged, match="beyond its end"):
        parts_of(altered(at, number))
