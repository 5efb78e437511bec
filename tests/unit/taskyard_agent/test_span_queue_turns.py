"""Sessions take turns among what an agent has in hand."""

import pytest

from taskyard_agent.holding.chunks import Chunk, Span
from taskyard_agent.holding.queue import EVERYBODY, SpanQueue
from taskyard_agent.holding.templates import UNMEASURED_SECONDS, LocalTemplate
from taskyard_api.v1 import template_pb2
from taskyard_contract.agent_link.window import CHUNK_SECONDS

A, B = 1, 2


class Held:
    """A queue, and spans of sessions that are known by a letter."""

    def __init__(self, apart: bool = False) -> None:
        self.queue = SpanQueue(apart)
        self._epoch = 0

    def add(self, share: int, count: int, seconds: float, nested: bool = False) -> Span:
        template = LocalTemplate(share, template_pb2.TemplateDefinition())
        template.took(1, seconds)
        ids = b"".join(number.to_bytes(16, "big") for number in range(self._epoch, self._epoch + count))
        chunk = Chunk(template, self._epoch, ids, b"", nested=nested, share=share)
        self._epoch += count
        span = chunk.whole()
        self.queue.add(span)
        return span

    def give(self, limit: int = 256, nested_only: bool = False) -> tuple[str, int]:
        """Give out a span; says of which session, and how many runs."""
        span = self.queue.pop(limit, EVERYBODY if nested_only else ())
        if span is None:
            return "", 0
        self.queue.spent(span)
        return " ab"[span.chunk.share], len(span)

    def order(self, count: int) -> str:
        return "".join(self.give()[0] for _ in range(count))


def test_a_quick_run_is_next_however_many_of_another_session_are_before_it() -> None:
    it = Held()
    it.add(A, 1_000, 0.01)
    assert it.order(20) == "a" * 20
    it.add(B, 1, 1e-5)
    assert it.order(2) == "ba"


def test_turns_are_of_equal_time() -> None:
    it = Held()
    it.add(A, 100, 0.1)
    it.add(B, 10_000, 0.0005)
    given = [it.give() for _ in range(400)]
    counts = {name: sum(runs for letter, runs in given if letter == name) for name in "ab"}
    assert counts["b"] * 0.0005 == pytest.approx(counts["a"] * 0.1, rel=0.2)


def test_who_is_in_debt_when_all_are_gets_as_many_turns_as_whose_turn_it_is() -> None:
    it = Held()
    it.add(A, 1_000, 0.03)
    it.add(B, 1_000, 0.2)
    names = it.order(700)
    assert names.count("a") * 0.03 == pytest.approx(names.count("b") * 0.2, abs=0.24)


def test_what_could_not_be_given_out_keeps_its_place_and_pays_nothing() -> None:
    it = Held()
    it.add(A, 1_000, 0.01)
    it.give()
    span = it.add(B, 1, 0.01)
    for _ in range(3):
        assert it.queue.pop(256) is span
        it.queue.put_back([span])
    assert it.order(2) == "ba"


def test_what_comes_back_is_first_of_its_own_session_only() -> None:
    it = Held()
    it.add(A, 100, 0.01)
    taken = it.queue.pop(1)
    assert taken is not None
    it.queue.spent(taken)
    it.add(B, 1, 0.01)
    it.queue.put_back([taken])
    assert it.give() == ("b", 1)
    assert it.queue.pop(1) is taken


def test_nested_runs_are_first_inside_their_session() -> None:
    it = Held()
    it.add(A, 1, 0.02)
    it.add(B, 2, 0.02)
    it.add(A, 1, 0.02, nested=True)
    assert it.queue.nested == 1
    assert it.give(nested_only=True) == ("a", 1)
    assert it.give(nested_only=True) == ("", 0)
    assert it.order(4) == "bab"


def test_a_worker_gets_no_more_slow_runs_than_a_moment_is_enough_for() -> None:
    it = Held()
    it.add(A, 200, 0.2)
    assert it.give() == ("a", 1)
    unmeasured = LocalTemplate(3, template_pb2.TemplateDefinition())
    assert 1 < unmeasured.most_at_once == int(CHUNK_SECONDS / UNMEASURED_SECONDS) < 32


def test_runs_of_others_are_known() -> None:
    it = Held()
    it.add(A, 1, 0.01)
    assert it.queue.has_others(B)
    assert not it.queue.has_others(A)
    it.add(B, 1, 0.01)
    assert it.queue.has_others(A)
    it.queue.pop(1)
    assert not it.queue.has_others(B)


def test_who_has_most_gives_back_first() -> None:
    it = Held()
    it.add(A, 10, 0.01)
    it.add(B, 2, 0.01)
    assert sum(map(len, it.queue.pop_last(7))) == 7
    assert sorted(span.chunk.share for span in it.queue) == [A, B]
    assert it.queue.runs == 5
    assert sum(map(len, it.queue.pop_last(99))) == 5
    assert (it.queue.runs, list(it.queue)) == (0, [])


def test_debts_of_all_are_paid_at_once() -> None:
    it = Held()
    it.add(A, 3, 3_600.0)
    it.add(B, 3, 3_600.0)
    assert it.order(6) == "ababab"


def test_coroutines_go_out_together_however_long_they_take() -> None:
    it = Held(apart=True)
    it.add(A, 250, 60.0)
    it.add(B, 250, 60.0)
    assert it.give(100) == ("a", 100)
    assert it.give(100) == ("a", 100), "a turn is over when as many have gone out as are quick ones"
    assert it.give(100) == ("b", 100)
