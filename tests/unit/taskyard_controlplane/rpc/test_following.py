"""Turns of those that are behind: one at a time, and rests that are as long as the process is busy."""

import asyncio

import pytest

from taskyard_controlplane.rpc.following import REST, Allowance


class Stand:
    """An allowance, and a clock that goes on by what is slept for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, busy: float) -> None:
        self.seconds = 100.0
        self.busy = busy
        """How much of a processor is used while nobody reads."""
        self.used = 0.0
        self.slept = 0.0
        self.allowance = Allowance(lambda: self.seconds, lambda: self.used)
        monkeypatch.setattr("taskyard_controlplane.rpc.following.asyncio.sleep", self._sleep)

    async def _sleep(self, seconds: float) -> None:
        if seconds > 0:
            self.seconds += seconds
            self.slept += seconds
            self.used += seconds * self.busy

    async def read(self, seconds: float) -> float:
        """Have a turn of so many seconds; returns how long it was waited for."""
        slept = self.slept
        async with self.allowance.turn():
            self.seconds += seconds
            self.used += seconds
        return self.slept - slept


@pytest.mark.parametrize(("busy", "rest"), [(0, 1), (0.5, 1 + REST / 2), (1, 1 + REST), (2, 1 + REST)])
def test_a_rest_is_the_longer_the_busier_the_process_is(
    monkeypatch: pytest.MonkeyPatch, busy: float, rest: float
) -> None:
    stand = Stand(monkeypatch, busy=busy)

    async def two() -> None:
        assert await stand.read(0.1) == 0
        assert await stand.read(0.2) == pytest.approx(0.1 * rest)
        assert await stand.read(0.1) == pytest.approx(0.2 * rest)

    asyncio.run(two())


def test_who_comes_late_has_no_rest_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    stand = Stand(monkeypatch, busy=1.0)

    async def two() -> None:
        await stand.read(0.1)
        stand.seconds += 0.1 * (1 + REST)
        assert await stand.read(0.1) == 0

    asyncio.run(two())


def test_one_has_a_turn_at_a_time_in_the_order_in_which_they_came() -> None:
    order: list[str] = []

    async def read(allowance: Allowance, name: str) -> None:
        async with allowance.turn():
            order.append(f"{name} begins")
            await asyncio.sleep(0)
            order.append(f"{name} ends")

    async def three() -> None:
        allowance = Allowance()
        await asyncio.gather(*(read(allowance, name) for name in "abc"))

    asyncio.run(three())
    assert order == [f"{name} {verb}" for name in "abc" for verb in ("begins", "ends")]


def test_a_turn_that_fails_is_over() -> None:
    async def two() -> None:
        allowance = Allowance()
        with pytest.raises(ValueError, match="no"):
            async with allowance.turn():
                raise ValueError("no")
        async with asyncio.timeout(10), allowance.turn():
            pass

    asyncio.run(two())
