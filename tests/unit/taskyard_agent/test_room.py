"""An agent whose disk is full takes nothing until there is room, and says so once."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taskyard_agent.holding.room import FIRST_PAUSE, LEAST_BYTES, LONGEST_PAUSE, Room

TOTAL = 100 * LEAST_BYTES
NEEDED = 30 * LEAST_BYTES


class Disk:
    """A disk with so much room, and a clock of seconds."""

    def __init__(self, path: Path) -> None:
        self.free = 0
        self.evictions = 0
        self.conditions: list[str] = []
        self._next: list[Callable[[], None]] = []
        self.room = Room(path, self._evict, space=lambda _: (self.free, TOTAL), later=self._later)
        self.room.changed = lambda: self.conditions.append(self.room.condition)

    def _evict(self) -> None:
        self.evictions += 1

    def _later(self, seconds: float, action: Callable[[], None]) -> Any:
        self._next.append(action)

    def pass_seconds(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            due, self._next = self._next, []
            for action in due:
                action()

    def seconds_closed(self) -> int:
        seconds = 0
        while self.room.condition:
            self.pass_seconds(1)
            seconds += 1
            assert seconds < 1000
        return seconds


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def test_nothing_is_taken_until_there_is_what_was_lacking(
    disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    for _ in range(3):
        disk.room.lacked(NEEDED, "No space left on device")
    disk.pass_seconds(100)
    assert "No space left on device" in disk.room.condition
    assert disk.evictions > 3, "what can be removed is"
    disk.free = NEEDED
    disk.pass_seconds(1)
    assert (disk.room.condition, len(disk.conditions)) == ("", 2)
    assert len(caplog.messages) == 2, "one line for the beginning, one for the end"


def test_what_does_not_fit_keeps_others_out_for_growing_pauses_only(disk: Disk) -> None:
    disk.free = NEEDED - 1
    pauses = []
    for _ in range(5):
        disk.room.lacked(NEEDED, "full")
        pauses.append(disk.seconds_closed())
    assert pauses == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]


def test_what_is_larger_than_the_disk_has_its_attempts_soon(disk: Disk) -> None:
    disk.free = TOTAL
    pauses = []
    for _ in range(5):
        disk.room.lacked(TOTAL + 1, "full")
        pauses.append(disk.seconds_closed())
    assert pauses == [FIRST_PAUSE] * 5


def test_nearly_no_room_is_none_however_long_it_lasts(disk: Disk) -> None:
    disk.free = TOTAL // 20 - 1
    disk.room.lacked(0, "full")
    disk.pass_seconds(500)
    assert disk.room.condition
    disk.free += 1
    disk.pass_seconds(1)
    assert not disk.room.condition


def test_a_disk_that_takes_nothing_has_no_room(disk: Disk, tmp_path: Path) -> None:
    disk.room = Room(tmp_path / "gone", lambda: None, space=lambda _: (TOTAL, TOTAL), later=disk._later)
    disk.room.lacked(1, "Read-only file system")
    disk.pass_seconds(50)
    assert disk.room.condition
    (tmp_path / "gone").mkdir()
    disk.pass_seconds(1)
    assert not disk.room.condition
    assert not list((tmp_path / "gone").iterdir())


def test_the_loop_is_asked_to_look_and_forgotten_at_the_end(tmp_path: Path) -> None:
    async def main() -> None:
        room = Room(tmp_path, lambda: None)
        room.stop()
        room.lacked(1, "full")
        assert room.condition
        room.stop()

    asyncio.run(main())
