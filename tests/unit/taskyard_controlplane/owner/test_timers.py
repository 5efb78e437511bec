"""Timers, against a clock and a loop that are the test's."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest
from support.owner_harness import FakeClock

from taskyard_controlplane.owner.timers import FEW_CANCELLED, Timer, Timers


class Handle:
    """A timer of the loop."""

    def __init__(self, at: float, action: Callable[[], None]) -> None:
        self.at = at
        self.action = action
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """An event loop, as far as timers use it."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.handles: list[Handle] = []

    def call_later(self, delay: float, action: Callable[[], None]) -> Handle:
        self.handles.append(Handle(self._clock.seconds + delay, action))
        return self.handles[-1]

    def armed(self) -> list[float]:
        """Return when the loop will call."""
        return [handle.at - 1_000 for handle in self.handles if not handle.cancelled]

    def run_until(self, seconds: float) -> None:
        self._clock.seconds = 1_000 + seconds
        while due := [one for one in self.handles if not one.cancelled and one.at <= self._clock.seconds]:
            self.handles.remove(due[0])
            due[0].action()


class Fixture:
    """Timers and what they did."""

    def __init__(self) -> None:
        clock = FakeClock()
        self.loop = Loop(clock)
        self.timers = Timers(cast(asyncio.AbstractEventLoop, self.loop), clock)
        self.done: list[str] = []

    def after(self, seconds: float, name: str) -> Timer:
        return self.timers.after(seconds, lambda: self.done.append(name), name=name)


def test_what_is_due_is_done_in_order_with_one_timer() -> None:
    it = Fixture()
    for seconds, name in ((3, "c"), (1, "a"), (2, "b"), (1, "a again")):
        it.after(seconds, name)
        assert len(it.loop.armed()) == 1
    assert it.loop.armed() == [1]
    it.loop.run_until(1)
    assert it.done == ["a", "a again"]
    assert it.loop.armed() == [2]
    it.loop.run_until(10)
    assert it.done == ["a", "a again", "b", "c"]
    assert it.loop.armed() == []


def test_an_action_that_fails_takes_no_other_with_it() -> None:
    it = Fixture()

    def fail() -> None:
        raise ZeroDivisionError

    it.timers.after(1, fail, name="fails")
    it.after(1, "next")
    with pytest.raises(ZeroDivisionError):
        it.loop.run_until(1)
    it.loop.run_until(1)
    assert it.done == ["next"]


def test_nothing_happens_after_the_stop() -> None:
    it = Fixture()
    it.after(1, "before")
    it.timers.stop()
    assert not it.after(1, "after").pending
    assert it.loop.armed() == []
    it.loop.run_until(10)
    it.timers.fire()
    assert it.done == []


def test_what_was_cancelled_is_not_done_and_no_longer_told() -> None:
    it = Fixture()
    first, second = it.after(1, "first"), it.after(2, "second")
    assert it.timers.pending() == ["first", "second"]
    first.cancel()
    first.cancel()
    assert (first.pending, second.pending) == (False, True)
    assert it.timers.pending() == ["second"]
    it.loop.run_until(10)
    assert it.done == ["second"]
    assert not second.pending
    second.cancel()
    assert it.timers.pending() == []


def test_a_cancelled_timer_keeps_nothing_alive() -> None:
    it = Fixture()
    run = {"run"}
    timer = it.timers.after(1, lambda: run.clear(), name="retry")
    timer.cancel()
    assert run == {"run"}
    assert not getattr(timer.action, "__closure__", None)


def test_what_is_done_early_is_not_done_again() -> None:
    it = Fixture()
    timer = it.after(1, "once")
    timer.fire_early()
    timer.fire_early()
    assert it.done == ["once"]
    it.loop.run_until(10)
    assert it.done == ["once"]


def test_cancelling_nearly_everything_leaves_the_rest_in_order() -> None:
    it = Fixture()
    timers = [it.after(seconds, str(seconds)) for seconds in range(4 * FEW_CANCELLED, 0, -1)]
    kept = timers[::FEW_CANCELLED]
    for timer in timers:
        if timer not in kept:
            timer.cancel()
    it.loop.run_until(5 * FEW_CANCELLED)
    assert it.done == [timer.name for timer in reversed(kept)]
    again = it.after(1, "again")
    again.cancel()
    assert it.timers.pending() == []


def test_an_action_may_ask_for_the_next_and_cancel_others() -> None:
    it = Fixture()
    doomed = it.after(2, "doomed")

    def turn() -> None:
        doomed.cancel()
        it.after(0, "at once")
        it.after(1, "later")

    it.timers.after(1, turn, name="turn")
    it.loop.run_until(1)
    assert it.done == ["at once"]
    it.loop.run_until(2)
    assert it.done == ["at once", "later"]
