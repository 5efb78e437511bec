"""Calls are the same if all that they were submitted with is."""

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
