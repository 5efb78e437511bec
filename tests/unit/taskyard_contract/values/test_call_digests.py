"""Calls are the same if all that they were submitted with is."""

import pickle

from taskyard_contract.values.call_digests import DIGEST_BYTES, call_digest

EDGES = [(b"a" * 16, 1), (b"b" * 16, 2)]


def test_a_digest_depends_on_arguments_blobs_and_upstream_runs():
    made = {
        call_digest(b"x", ["n"], EDGES),
        call_digest(b"y", ["n"], EDGES),
        call_digest(b"x", ["m"], EDGES),
        call_digest(b"x", [], EDGES),
        call_digest(b"x", ["n"], EDGES[:1]),
        call_digest(b"x", ["n"], [(b"a" * 16, 1), (b"b" * 16, 1)]),
        call_digest(b"", [], []),
    }
    assert len(made) == 7
    assert {len(digest) for digest in made} == {DIGEST_BYTES}


def test_the_order_in_which_blobs_and_upstream_runs_are_named_does_not_matter():
    assert call_digest(b"x", ["n", "m", "n"], EDGES) == call_digest(b"x", ["m", "n"], reversed(EDGES))


def test_what_is_inline_is_not_taken_for_a_name():
    assert call_digest(b"b1:n", [], []) != call_digest(b"", ["n"], [])


def test_arguments_that_are_written_in_another_order_are_the_same():
    first, second = b"\x80\x05\x8f(K\x01K\x02\x90.", b"\x80\x05\x8f(K\x02K\x01\x90."
    assert pickle.loads(first) == pickle.loads(second) == {1, 2}
    assert call_digest(first, [], []) == call_digest(second, [], [])
    assert call_digest(b"x" + first, [], []) != call_digest(b"x" + second, [], [])
