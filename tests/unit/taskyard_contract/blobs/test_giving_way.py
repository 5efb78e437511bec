"""Large files take turns, and give way to whoever commits to a database on the same disk."""

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from taskyard_contract.blobs import giving_way
from taskyard_contract.blobs.giving_way import (
    BUSY_SECONDS,
    LONGEST_PAUSE,
    LOOK_SECONDS,
    PATIENCE_SECONDS,
    PAUSES,
    SMALL_SYNC_BYTES,
    SYNC_BYTES,
    TURN_FILE,
    TURN_SECONDS,
    GivingWay,
    InTurn,
    Steps,
    show_log,
    shown_log,
)


class Yard:
    """A directory of blobs and the log of a database, and seconds that pass when somebody syncs or sleeps."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.log = path / "blobs", path / "runs.db-wal"
        self.root.mkdir()
        self.log.touch()
        show_log(self.root, self.log)
        self.now = 100.0
        self.sync_seconds = 0.01
        self.slept: list[float] = []
        self.meanwhile: Callable[[], None] = lambda: None
        self._commits = 0
        monkeypatch.setattr(os, "fdatasync", self._fdatasync)

    def _fdatasync(self, _: int) -> None:
        self.now += self.sync_seconds

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        self.meanwhile()

    def commit(self) -> None:
        self._commits += 1
        os.utime(self.log, (self._commits, self._commits))

    def way(self) -> GivingWay:
        return GivingWay(self.root, self.clock, self.sleep)

    def turn(self) -> InTurn:
        return InTurn(self.root, self.clock, self.sleep)


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Yard:
    return Yard(tmp_path, monkeypatch)


def step(way: Steps) -> None:
    way.wrote(0, way.most)


@pytest.mark.parametrize("make", [Steps, None])
def test_what_is_written_is_synced_in_steps(yard: Yard, make: Callable[[], Steps] | None) -> None:
    way, began = make() if make is not None else yard.way(), yard.now
    for _ in range(3):
        way.wrote(0, SYNC_BYTES - 1)
        assert yard.now == began
        way.wrote(0, 1)
        assert yard.now > began
        began = yard.now
    assert yard.slept == [], "nobody commits"


def test_there_is_a_pause_after_each_step_while_others_commit_and_the_steps_are_small(yard: Yard) -> None:
    way = yard.way()
    yard.commit()
    step(way)
    assert way.most == SMALL_SYNC_BYTES
    yard.sync_seconds = 0.02
    yard.commit()
    step(way)
    assert yard.slept == pytest.approx([PAUSES * 0.01, PAUSES * 0.02])


def test_there_is_none_once_nobody_has_committed_for_a_while(yard: Yard) -> None:
    way = yard.way()
    yard.commit()
    step(way)
    yard.slept.clear()
    yard.now += BUSY_SECONDS
    step(way)
    assert (yard.slept, way.most) == ([], SYNC_BYTES)


def test_a_slow_disk_makes_no_long_pause(yard: Yard) -> None:
    yard.sync_seconds = 5.0
    way = yard.way()
    yard.commit()
    step(way)
    assert yard.slept == [LONGEST_PAUSE]


def test_a_log_that_is_not_there_holds_up_nobody(yard: Yard) -> None:
    way = yard.way()
    yard.log.unlink()  # as SQLite does when a control plane ends
    step(way)
    yard.now += BUSY_SECONDS
    yard.slept.clear()
    for _ in range(3):
        step(way)
    assert yard.slept == []


@pytest.mark.parametrize("told", [None, b"", b"runs.db-wal", b"/runs\0.db-wal", b"/" + b"x" * 5000])
def test_where_no_log_is_known_nobody_is_held_up(yard: Yard, told: bytes | None) -> None:
    show_log(yard.root, None)
    if told is not None:
        yard.root.joinpath(giving_way.LOG_FILE).write_bytes(told)
    way = yard.way()
    yard.commit()
    step(way)
    assert yard.slept == []


def test_commits_to_another_disk_hold_up_nobody(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path.stat

    def elsewhere(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        found = list(here(path, follow_symlinks=follow_symlinks))
        found[stat.ST_DEV] += path == yard.log
        return os.stat_result(found)

    monkeypatch.setattr(Path, "stat", elsewhere)
    way = yard.way()
    yard.commit()
    step(way)
    assert yard.slept == []


def test_the_log_that_is_known_is_of_whoever_has_the_directory_now(yard: Yard) -> None:
    other = yard.root.with_name("other \udcff.db-wal")
    for log in (yard.log, yard.log, other):
        show_log(yard.root, log)
        assert shown_log(yard.root) == log
        [file] = yard.root.iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for _ in range(2):
        show_log(yard.root, None)
        assert list(yard.root.iterdir()) == []


def test_whoever_comes_second_waits_until_the_first_one_has_written(yard: Yard) -> None:
    first = yard.turn()
    first.__enter__()

    def ends() -> None:
        if len(yard.slept) == 3:
            first.__exit__()

    yard.meanwhile = ends
    with yard.turn():
        assert yard.slept == [LOOK_SECONDS] * 3


def test_another_one_may_have_the_turn_after_a_second(yard: Yard) -> None:
    order = list[str]()

    def other() -> None:
        yard.meanwhile = lambda: None
        with yard.turn():
            order.append("other")

    with yard.turn() as way:
        step(way)
        assert yard.slept == []
        yard.now += TURN_SECONDS
        yard.meanwhile = other
        step(way)
        order.append("first again")
        slept = len(yard.slept)
        step(way)
        assert len(yard.slept) == slept, "it has a second again"
    assert order == ["other", "first again"]


def test_nobody_waits_for_ever_for_one_that_was_stopped_and_only_once(yard: Yard) -> None:
    with yard.turn():
        began = yard.now
        with yard.turn() as way:
            assert yard.now - began == pytest.approx(PATIENCE_SECONDS, abs=2 * LOOK_SECONDS)
            began = yard.now
            for _ in range(3):
                yard.now += TURN_SECONDS
                step(way)
            assert yard.now - began < 4 * TURN_SECONDS


def test_one_waits_as_long_as_others_take_turns(yard: Yard) -> None:
    first, ends_at = yard.turn(), yard.now + 5 * PATIENCE_SECONDS
    first.__enter__()

    def work() -> None:
        os.utime(yard.root / TURN_FILE, (yard.now, yard.now // TURN_SECONDS))
        if yard.now >= ends_at:
            first.__exit__()
            yard.meanwhile = lambda: None

    yard.meanwhile = work
    with yard.turn():
        assert yard.now >= ends_at
        with open(yard.root / TURN_FILE, "rb") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_an_error_gives_the_turn_back(yard: Yard) -> None:
    with pytest.raises(OSError, match="lost"), yard.turn():
        raise OSError(errno.EIO, "lost")
    with yard.turn():
        assert yard.slept == []


def test_where_files_cannot_be_locked_nobody_waits(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with yard.turn() as way:
        yard.now += TURN_SECONDS
        step(way)
        assert yard.slept == [2 * LOOK_SECONDS]
