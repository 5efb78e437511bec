"""A database that says nothing is noticed by those who do not wait for it."""

import logging

import pytest
from support.turned_clock import TurnedClock

from taskyard_controlplane.owner.journal.response import OVERDUE_SECONDS, REMIND_SECONDS, Response


def test_an_answer_in_time_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    clock = TurnedClock()
    response = Response(clock)
    response.awaited()
    clock.seconds += OVERDUE_SECONDS - 0.1
    response.look()
    assert not response.overdue
    response.came()
    clock.seconds += 1000
    response.look()
    assert (response.overdue, caplog.messages) == (False, [])


def test_an_answer_that_does_not_come_is_told_once_then_now_and_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    clock = TurnedClock()
    response = Response(clock)
    response.awaited()
    for _ in range(int(OVERDUE_SECONDS + REMIND_SECONDS)):
        clock.seconds += 1
        response.look()
    assert response.overdue
    assert [text.split(";")[0] for text in caplog.messages] == [
        "the database has not answered for 5 s",
        "the database has not answered for 65 s",
    ]
    response.came()
    assert not response.overdue
    assert caplog.messages[-1] == "the database answers again, after 65 s"


def test_each_use_of_the_database_is_timed_by_itself() -> None:
    clock = TurnedClock()
    response = Response(clock)
    for _ in range(3):
        response.awaited()
        clock.seconds += OVERDUE_SECONDS - 1
        assert not response.overdue
        response.came()
