"""When an agent starts nothing new because enough runs wait for runs of their own."""

import logging

import pytest

from taskyard_agent.holding.admission import (
    DEEP_PATIENCE_SECONDS,
    MOST_WAITING,
    PATIENCE_SECONDS,
    REFUSAL_SECONDS,
    Admission,
)


def test_two_waiting_runs_a_slot_are_enough() -> None:
    admission = Admission(2)
    assert [admission.weigh(waiting) for waiting in range(6)] == [False] * 4 + [True, False]
    assert admission.crowded
    assert not admission.weigh(3)
    assert not admission.crowded


def test_queued_nested_runs_do_not_keep_others_out_while_it_is_crowded() -> None:
    admission = Admission(1)
    assert admission.passable(7) == 0
    admission.weigh(2)
    assert (admission.passable(7), admission.passable(1000)) == (7, 32)


def test_patience_runs_out_when_a_worker_stays_idle() -> None:
    admission = Admission(2)
    admission.weigh(4)
    assert not admission.look(4, True, 10.0)
    assert not admission.look(4, False, 10.0 + PATIENCE_SECONDS), "it was busy meanwhile"
    assert not admission.look(4, True, 11.0)
    assert not admission.look(4, True, 11.0 + PATIENCE_SECONDS / 2)
    assert admission.look(4, True, 11.0 + 2 * PATIENCE_SECONDS)
    assert not admission.crowded


def test_then_a_few_more_may_wait_until_there_are_few_again() -> None:
    admission = Admission(2)
    admission.weigh(4)
    for now in (0.0, PATIENCE_SECONDS):
        admission.look(4, True, now)
    assert [admission.weigh(waiting) for waiting in (5, 6)] == [False, True], "one more for each slot"
    admission.weigh(3)
    assert admission.weigh(4), "the old bound holds again"


def test_there_is_a_bound_to_patience(caplog: pytest.LogCaptureFixture) -> None:
    admission = Admission(2)
    with caplog.at_level(logging.WARNING):
        for waiting in (MOST_WAITING, MOST_WAITING + 1, MOST_WAITING):
            admission.weigh(waiting)
    for now in (0.0, PATIENCE_SECONDS, 9.0):
        assert not admission.look(MOST_WAITING, True, now)
    assert admission.crowded
    assert [record.message for record in caplog.records] == [
        "200 runs wait for runs they have submitted, each in a process, and no more may (--max-waiting);"
        " no other runs are started"
    ]


def deep(slots: int = 1, most: int = 4, waiting: int = 2) -> Admission:
    """Weigh so many waiting runs, one after the other."""
    admission = Admission(slots, most)
    for count in range(1, waiting + 1):
        admission.weigh(count)
    return admission


def test_from_half_of_the_limit_on_what_the_latest_waits_for_comes_first() -> None:
    assert not deep(waiting=1).deep
    admission = deep(waiting=2)
    assert (admission.crowded, admission.deep) == (True, True)
    admission.weigh(1)
    assert not admission.deep


def test_when_that_does_not_come_others_may_start_until_one_more_waits() -> None:
    admission = deep()
    assert not admission.look(2, True, 0.0, queued=3)
    assert not admission.look(2, True, PATIENCE_SECONDS, queued=3)
    assert admission.look(2, True, DEEP_PATIENCE_SECONDS, queued=3)
    assert (admission.crowded, admission.deep) == (True, False), "but only what others wait for"
    admission.weigh(2)
    assert not admission.deep
    admission.weigh(3)
    assert admission.deep, "it has priority now"


def test_at_the_limit_they_start_only_when_nothing_else_is_executed() -> None:
    admission = deep(waiting=4)
    for now in (0.0, DEEP_PATIENCE_SECONDS, 9.0):
        assert not admission.look(4, True, now, queued=1, busy=True)
        assert not admission.look(4, True, now, queued=0)
    assert not admission.look(4, True, 10.0, queued=1)
    assert not admission.look(4, True, 10.0 + PATIENCE_SECONDS, queued=1)
    assert admission.look(4, True, 10.0 + DEEP_PATIENCE_SECONDS, queued=1)


def test_what_the_latest_waits_for_gets_past_all_that_was_queued_before_it() -> None:
    admission = deep(waiting=1)
    admission.weigh(2, queued=100)
    assert (admission.passable(100), admission.passable(1000)) == (100, 132)


def test_a_run_is_refused_when_it_holds_the_last_slot_and_nothing_moves() -> None:
    admission = deep(waiting=5)
    assert not admission.refuses(5, 1, 0.0)
    assert not admission.refuses(5, 0, 1.0), "what it waits for is executed elsewhere"
    assert not admission.refuses(5, 1, 2.0)
    assert not admission.refuses(5, 1, 1.0 + REFUSAL_SECONDS)
    assert admission.refuses(5, 1, 2.0 + REFUSAL_SECONDS)
    assert not admission.refuses(5, 1, 3.0 + REFUSAL_SECONDS), "one at a time"


def test_none_is_refused_while_others_go_on_or_a_slot_is_free() -> None:
    admission = deep(waiting=5)
    assert not admission.refuses(5, 1, 0.0)
    admission.weigh(4)
    admission.weigh(5)
    assert not admission.refuses(5, 1, REFUSAL_SECONDS)
    assert not deep(waiting=4).refuses(4, 1, 0.0)
