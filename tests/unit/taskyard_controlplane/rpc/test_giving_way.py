"""Uploads take turns, and give way to those who wait for runs."""

import asyncio

import pytest

from taskyard_controlplane.rpc import giving_way
from taskyard_controlplane.rpc.giving_way import BUSY_SECONDS, LONGEST_PAUSE, PAUSES, GivingWay


class Time:
    """Seconds that pass when somebody works or sleeps, and what others are served."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.served = 0
        self.slept: list[float] = []
        monkeypatch.setattr(giving_way.asyncio, "sleep", self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def way(self) -> GivingWay:
        return GivingWay(lambda: self.served, lambda: self.now)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


async def piece(way: GivingWay, time: Time, seconds: float) -> None:
    async with way.turn():
        time.now += seconds


def test_there_is_a_pause_after_each_piece_while_others_are_served(time: Time) -> None:
    async def upload() -> None:
        way = time.way()
        await piece(way, time, 0.01)
        time.served += 1
        await piece(way, time, 0.02)

    asyncio.run(upload())
    assert time.slept == pytest.approx([PAUSES * 0.01, PAUSES * 0.02])


def test_there_is_none_once_nobody_was_served_for_a_while(time: Time) -> None:
    async def upload() -> None:
        way = time.way()
        await piece(way, time, 0.01)
        time.slept.clear()
        time.now += BUSY_SECONDS
        await piece(way, time, 0.01)

    asyncio.run(upload())
    assert time.slept == []


def test_a_slow_disk_makes_no_long_pause(time: Time) -> None:
    asyncio.run(piece(time.way(), time, 5.0))
    assert time.slept == [LONGEST_PAUSE]


def test_one_piece_is_taken_in_at_a_time_in_the_order_of_their_coming(time: Time) -> None:
    order: list[int] = []

    async def upload(way: GivingWay, number: int) -> None:
        async with way.turn():
            order.append(number)
            loop = asyncio.get_running_loop()
            others = loop.create_future()
            loop.call_soon(others.set_result, None)
            await others
            order.append(number)

    async def all_of_them() -> None:
        way = time.way()
        await asyncio.gather(*(upload(way, number) for number in range(3)))

    asyncio.run(all_of_them())
    assert order == [0, 0, 1, 1, 2, 2]


def test_a_piece_that_fails_lets_the_next_one_in(time: Time) -> None:
    async def both() -> None:
        way = time.way()
        with pytest.raises(ValueError, match="no room"):
            async with way.turn():
                raise ValueError("no room")
        await piece(way, time, 0.01)

    asyncio.run(both())
