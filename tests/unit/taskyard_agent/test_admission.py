"""When an agent starts nothing new because enough runs wait for runs of their own."""

import logging

import pytest

from taskyard_agent.holding.admission import MOST_WAITING, PATIENCE_SECONDS, Admission


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
        "200 runs wait for runs they have submitted, each in a process; no other runs are started"
    ]
