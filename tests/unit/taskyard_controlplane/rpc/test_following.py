"""Turns of those that are behind: one at a time, and rests that are as long as the process is busy."""

import asyncio

import pytest

from taskyard_controlplane.rpc.following import BUSY_RATE, RATE_SECONDS, REST, Allowance


class Stand:
    """An allowance, and a clock that goes on by what is slept and read for; runs change all the while."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, rate: float) -> None:
        self.seconds = 100.0
        self.rate = rate
        self.slept = 0.0
        self.allowance = Allowance(lambda: self.seconds)
        monkeypatch.setattr("taskyard_controlplane.rpc.following.asyncio.sleep", self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.seconds += max(0.0, seconds)
        self.slept += max(0.0, seconds)

    async def read(self, seconds: float) -> float:
        """Have a turn of so many seconds; returns how long it was waited for."""
        slept = self.slept
        async with self.allowance.turn(lambda: round((self.seconds - 100) * self.rate)):
            self.seconds += seconds
        return self.slept - slept


@pytest.mark.parametrize(
    ("rate", "rest"), [(0, 0), (BUSY_RATE / 2, REST / 4), (BUSY_RATE, REST), (3 * BUSY_RATE, REST)]
)
def test_a_rest_is_the_longer_the_more_runs_change(
    monkeypatch: pytest.MonkeyPatch, rate: float, rest: float
) -> None:
    stand = Stand(monkeypatch, rate=rate)

    async def three() -> None:
        assert await stand.read(RATE_SECONDS) == 0
        assert await stand.read(0.2) == pytest.approx(RATE_SECONDS * rest, rel=0.01)
        assert await stand.read(0.2) == pytest.approx(0.2 * rest, rel=0.01)

    asyncio.run(three())


def test_a_single_commit_makes_no_long_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    stand = Stand(monkeypatch, rate=0)

    async def two() -> None:
        await stand.read(RATE_SECONDS / 10)
        stand.rate = BUSY_RATE
        assert await stand.read(0.001) == pytest.approx(RATE_SECONDS / 10 * REST / 100, rel=0.01)

    asyncio.run(two())


def test_who_comes_late_has_no_rest_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    stand = Stand(monkeypatch, rate=BUSY_RATE)

    async def two() -> None:
        await stand.read(0.1)
        stand.seconds += 0.1 * REST
        assert await stand.read(0.1) == 0

    asyncio.run(two())


def test_one_has_a_turn_at_a_time_in_the_order_in_which_they_came() -> None:
    order: list[str] = []

    async def read(allowance: Allowance, name: str) -> None:
        async with allowance.turn(lambda: 0):
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
            async with allowance.turn(lambda: 0):
                raise ValueError("no")
        async with asyncio.timeout(10), allowance.turn(lambda: 0):
            pass

    asyncio.run(two())
