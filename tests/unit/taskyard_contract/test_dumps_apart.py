"""Large buffers lie beside the pickle, and everything else is pickled as always."""

import pickle
from typing import Any

import pytest

from taskyard_contract.encodings import BUFFERS, decode
from taskyard_contract.pickling import APART_BYTES, dumps, dumps_apart, dumps_for_later
from taskyard_contract.values.layout import LaidOut

SMALL: list[Any] = [
    None, True, 3, 2.5, "text" * 50_000, b"bytes", b"x" * (APART_BYTES - 1), bytearray(b"small"),
    [1, {"a": (2, None)}], {"bytes": b"x" * APART_BYTES}, [bytearray(APART_BYTES)],
    pickle.PickleBuffer(bytearray(APART_BYTES - 1)),
]  # fmt: skip


@pytest.mark.parametrize("value", SMALL, ids=lambda value: type(value).__name__)
def test_what_has_no_large_buffer_is_pickled_as_always(value: Any) -> None:
    data = dumps_apart(value)
    assert isinstance(data, bytes)
    assert data == dumps(value)


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_large_bytes_are_handed_on_as_they_are(kind: type) -> None:
    value = kind(b"v" * APART_BYTES)
    made = dumps_apart(value)
    assert isinstance(made, LaidOut)
    assert any(piece is value for piece in made.pieces), "no copy is made of them"
    data = made.joined()
    assert len(data) == made.size
    found = decode(data, BUFFERS)
    assert (type(found), found) == (kind, value)


def test_buffers_come_back_in_memory_that_can_be_written_to() -> None:
    given = bytearray(b"v" * APART_BYTES)
    made = dumps_apart({"first": pickle.PickleBuffer(given), "second": [pickle.PickleBuffer(given)], "n": 1})
    assert isinstance(made, LaidOut)
    data = bytearray(made.joined())
    found = decode(memoryview(data), BUFFERS)
    assert (found["first"], found["second"], found["n"]) == (given, [given], 1)
    found["first"][0] = 0
    assert decode(memoryview(data), BUFFERS)["first"][0] == 0, "it is the memory that was given"
    shared = decode(bytes(made.joined()), BUFFERS)
    shared["first"][0] = 0
    assert shared["second"] == [given]


def test_of_large_and_small_buffers_only_the_large_ones_are_apart() -> None:
    small, large = b"s" * (APART_BYTES - 1), b"l" * APART_BYTES
    made = dumps_apart([pickle.PickleBuffer(small), pickle.PickleBuffer(large)])
    assert isinstance(made, LaidOut)
    assert [len(piece) for piece in made.pieces].count(APART_BYTES) == 1
    assert decode(made.joined(), BUFFERS) == [small, large]


def test_code_that_plain_pickle_refuses_keeps_its_buffers_apart_and_each_once() -> None:
    data = b"v" * APART_BYTES
    made = dumps_apart([pickle.PickleBuffer(data), lambda number: number + 1, 3])
    assert isinstance(made, LaidOut)
    assert made.size < 2 * APART_BYTES
    found, function, number = decode(made.joined(), BUFFERS)
    assert (found, function(1), number) == (data, 2, 3)


def test_code_without_buffers_is_pickled_as_always() -> None:
    made = dumps_apart(lambda number: number + 1)
    assert isinstance(made, bytes)
    assert pickle.loads(made)(1) == 2


def test_what_cannot_be_pickled_is_refused_as_always() -> None:
    with open(__file__, "rb") as file, pytest.raises(TypeError):
        dumps_apart([b"v" * APART_BYTES, file])


def test_arrays_and_frames_come_back_over_the_memory_that_is_read() -> None:
    np = pytest.importorskip("numpy", reason="arrays are laid out where numpy is")
    pd = pytest.importorskip("pandas", reason="frames are laid out where pandas is")
    array = np.arange(APART_BYTES, dtype="float64").reshape(64, -1)
    made = dumps_apart({"array": array, "turned": np.asfortranarray(array), "small": array[0]})
    assert isinstance(made, LaidOut)
    assert any(memoryview(piece).nbytes == array.nbytes for piece in made.pieces)
    data = memoryview(bytearray(made.joined()))
    found = decode(data, BUFFERS)
    for name in ("array", "turned"):
        np.testing.assert_array_equal(found[name], array)
        assert found[name].flags.writeable
        assert np.shares_memory(found[name], np.frombuffer(data, dtype="uint8"))
    assert found["turned"].flags.f_contiguous
    np.testing.assert_array_equal(found["small"], array[0])
    frame = pd.DataFrame({"a": np.arange(APART_BYTES), "b": ["x"] * APART_BYTES})
    laid_out = dumps_apart(frame)
    assert isinstance(laid_out, LaidOut)
    pd.testing.assert_frame_equal(decode(laid_out.joined(), BUFFERS), frame)


def test_lambdas_may_hold_arrays() -> None:
    np = pytest.importorskip("numpy", reason="arrays are laid out where numpy is")
    array = np.arange(APART_BYTES)
    made = dumps_apart(lambda: array.sum())
    assert isinstance(made, LaidOut)
    assert decode(made.joined(), BUFFERS)() == array.sum()


def test_what_is_kept_for_later_is_laid_out_as_well() -> None:
    made = dumps_for_later(b"v" * APART_BYTES)
    assert isinstance(made, LaidOut)
    assert decode(made.joined(), BUFFERS) == b"v" * APART_BYTES
    assert dumps_for_later([1]) == dumps([1])
