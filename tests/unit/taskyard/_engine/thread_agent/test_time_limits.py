"""What ends an attempt in a thread: its time, and its silence."""

from collections.abc import Callable
from typing import Any

import pytest

from taskyard._engine.thread_agent.time_limits import TimeLimits


class Clock:
    """A clock that stands still, and the timers that were started by it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.due: list[float] = []
        self.cancelled = 0
        self.daemon = False

    def __call__(self) -> float:
        return self.now

    def timer(self, seconds: float, call: Callable[[], None]) -> Any:
        self.due.append(seconds)
        return self

    def start(self) -> None: ...

    def cancel(self) -> None:
        self.cancelled += 1


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limits(clock: Clock, seconds: float, silence: float) -> tuple[TimeLimits, list[str]]:
    """Return limits, and a list of what they ended."""
    ended: list[str] = []
    made = TimeLimits(seconds, silence, lambda: ended.append("ended"), clock, clock.timer)
    made.start()
    return made, ended


def test_the_first_limit_to_pass_decides_when_to_look(clock: Clock) -> None:
    limits(clock, 5, 2)
    limits(clock, 1, 2)
    assert clock.due == [2, 1]


def test_an_attempt_that_takes_too_long_is_ended_once(clock: Clock) -> None:
    made, ended = limits(clock, 5, 0)
    clock.now += 5
    made.look()
    made.look()
    assert ended == ["ended"]
    assert made.passed == "the attempt exceeded its timeout of 5 seconds and was ended"


def test_who_says_something_now_and_then_goes_on(clock: Clock) -> None:
    made, ended = limits(clock, 0, 2)
    for _ in range(3):
        clock.now += 1.5
        made.heard()
        clock.now += 0.5
        made.look()
    assert (ended, made.passed) == ([], "")
    assert clock.due == [2, 1.5, 1.5, 1.5]
    clock.now += 1.5
    made.look()
    assert ended == ["ended"]
    assert made.passed == "the attempt said nothing of its progress for 2 seconds and was ended"


def test_who_waits_for_other_runs_need_not_say_anything(clock: Clock) -> None:
    made, ended = limits(clock, 0, 2)
    with made.waiting():
        clock.now += 10
        made.look()
    clock.now += 1.9
    made.look()
    assert ended == [], "the end of the waiting is a word"
    clock.now += 0.1
    made.look()
    assert ended == ["ended"]


def test_who_looks_for_himself_needs_no_timer(clock: Clock) -> None:
    made = TimeLimits(5, 0, lambda: None, clock, clock.timer)
    assert (made.check(), made.passed) == ("", "")
    clock.now += 5
    assert made.check() == made.passed == "the attempt exceeded its timeout of 5 seconds and was ended"
    assert clock.due == []


def test_nothing_is_ended_that_has_ended(clock: Clock) -> None:
    made, ended = limits(clock, 1, 0)
    made.stop()
    clock.now += 2
    made.look()
    assert (ended, clock.cancelled) == ([], 1)
