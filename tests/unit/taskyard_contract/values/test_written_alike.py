"""Pickles of equal values have one digest, whichever process wrote them; others have others."""

import os
import pickle
import subprocess
import sys
import time
from typing import Any, Final

import pytest

from taskyard_contract.values.written_alike import MOST_BYTES, digest_of_pickle

PROTOCOL: Final = 5
PROGRAM: Final = """
import collections, datetime, decimal, pickle, sys
from pydantic import BaseModel

class Order(BaseModel):
    id: int = 1
    name: str = "tea"
    tags: set[str] = set()

words = {"alpha", "beta", "gamma", "delta", "epsilon"}
inside = [1, 2]
inside.append(inside)
values = {
    "set": words,
    "frozenset": frozenset(words),
    "set in it": {"key": [words, (words, 1)]},
    "set of tuples": {(word, 1) for word in words},
    "model": Order(id=3, tags=words),
    "models": [Order(id=number) for number in range(3)],
    "ordered": collections.OrderedDict(a=words, b=frozenset(words)),
    "and others": [words, datetime.datetime(2020, 1, 1), decimal.Decimal("1.5"), None, 1.5, b"x"],
    "inside of itself": [words, inside],
}
pickle.dump({name: pickle.dumps(((value,), {}), 5) for name, value in values.items()}, sys.stdout.buffer)
"""


def written_with(seed: str) -> dict[str, bytes]:
    """Return pickles of a process whose texts have hashes of their own."""
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, check=True)
    written: dict[str, bytes] = pickle.loads(done.stdout)
    return written


def test_two_processes_write_sets_and_models_alike():
    processes = [written_with(seed) for seed in ("1", "2", "3")]
    for name in processes[0]:
        assert len({digest_of_pickle(written[name]) for written in processes}) == 1, name
    assert len({written["model"] for written in processes}) > 1, "the bytes are what differs"


VALUES: Final = [
    *(1, 1.0, True, "1", b"1", None, (), [], {}, set(), frozenset(), (1,), [1], {1: 1}, {1}, frozenset({1})),
    *([None], {"a": [1, {2}]}, {"a": [1, {3}]}, int, str, len, {1, 2}, [1, 2], {(1, 2)}, {(2, 1)}, "a\ud800"),
    *([{1}, {2}], [{2}, {1}], {"a": {1}, "b": {2}}, {"b": {2}, "a": {1}}),
]


def test_other_values_have_other_digests():
    digests = {digest_of_pickle(pickle.dumps(value, PROTOCOL)) for value in VALUES}
    assert len(digests) == len(VALUES)
    # As they travel, beside something that has them all read and not only compared.
    read = {digest_of_pickle(pickle.dumps([{"set"}, value], PROTOCOL)) for value in VALUES}
    assert len(read) == len(VALUES)


def test_what_is_shared_is_like_what_is_equal():
    shared = {1}
    assert digest_of_pickle(pickle.dumps([shared, shared], PROTOCOL)) == digest_of_pickle(
        pickle.dumps([{1}, {1}], PROTOCOL)
    )


@pytest.mark.parametrize("module", ["__main__", "__taskyard_loader_prog_1__.prog"])
def test_what_the_programs_own_file_defines_has_one_name(module: str):
    def naming(module: str, name: str) -> bytes:
        texts = [bytes([0x8C, len(text)]) + text.encode() for text in (module, name)]
        return b"\x80\x05" + b"".join(texts) + b"\x93."

    assert digest_of_pickle(naming(module, "Order")) == digest_of_pickle(naming("__main__", "Order"))
    assert digest_of_pickle(naming(module, "Order")) != digest_of_pickle(naming(module, "Item"))
    assert digest_of_pickle(naming(module, "Order")) != digest_of_pickle(naming("orders", "Order"))


NO_PICKLES: Final = [
    *(b"", b"text", b"\x80", b"\x80\x05garbage \x90"),
    *(b"\x80\x05\x90.", b"\x80\x05h\x00\x90.", b"\x80\x05\x94\x91."),
]


@pytest.mark.parametrize("data", NO_PICKLES)
def test_what_is_no_pickle_is_only_like_itself(data: bytes):
    assert digest_of_pickle(data) == digest_of_pickle(data)
    assert digest_of_pickle(data) != digest_of_pickle(data + b"\x00")


def test_nothing_is_unpickled():
    data = b"\x80\x05(cos\nabort\n\x8f\x90o."
    assert digest_of_pickle(data)


def test_values_that_hold_each_other_many_times_are_read_once():
    value: Any = [{1}]
    for _ in range(60):
        value = [value, value]
    began = time.perf_counter()
    digest_of_pickle(pickle.dumps(value, PROTOCOL))
    assert time.perf_counter() - began < 5


def test_values_that_are_nested_too_deeply_are_told_apart_by_their_bytes():
    deep: Any = [{1}]
    for _ in range(300):
        deep = [deep]
    assert digest_of_pickle(pickle.dumps(deep, PROTOCOL)) == digest_of_pickle(pickle.dumps(deep, PROTOCOL))
    bottomless = b"\x80\x05" + b"]" * 3000 + b"\x8f" + b"a" * 3000 + b"."
    assert digest_of_pickle(bottomless) != digest_of_pickle(bottomless + b".")


def test_large_pickles_are_told_apart_by_their_bytes():
    first, second = (pickle.dumps([{"a"}, filler * MOST_BYTES], PROTOCOL) for filler in ("x", "y"))
    assert digest_of_pickle(first) != digest_of_pickle(second)
