"""Locks of transactions, in memory and in files: row 21."""

import asyncio
import fcntl
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from taskyard.exceptions import ConfigurationError
from taskyard.locking.filesystem import FileSystemLockManager
from taskyard.locking.memory import MemoryLockManager
from taskyard.locking.protocol import LockManager
from taskyard.results import ResultStore

SECONDS = 20.0
HOLD = """
import sys
from taskyard.locking.filesystem import FileSystemLockManager
print(FileSystemLockManager(sys.argv[1]).acquire_lock("key", "other"), flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["memory", "files"])
def locks(request: pytest.FixtureRequest, tmp_path: Path) -> LockManager:
    return MemoryLockManager() if request.param == "memory" else FileSystemLockManager(tmp_path / "locks")


@pytest.fixture
def key(tmp_path: Path) -> str:
    return f"any/key of {tmp_path}"


def test_row_21_both_are_lock_managers(locks: LockManager) -> None:
    assert isinstance(locks, LockManager)
    assert pickle.loads(pickle.dumps(locks)) == locks


def test_row_21_a_lock_has_one_holder(locks: LockManager, key: str) -> None:
    assert locks.acquire_lock(key, "a")
    assert locks.acquire_lock(key, "a")
    assert not locks.acquire_lock(key, "b", acquire_timeout=0)
    assert not locks.acquire_lock(key, "b", acquire_timeout=0.05)
    assert not locks.wait_for_lock(key, 0.05)
    assert (locks.is_locked(key), locks.is_lock_holder(key, "a"), locks.is_lock_holder(key, "b")) == (
        True,
        True,
        False,
    )
    assert locks.acquire_lock(f"{key} other", "b")
    locks.release_lock(key, "a")
    assert not locks.is_locked(key)
    assert locks.wait_for_lock(key)
    assert locks.acquire_lock(key, "b", acquire_timeout=0)
    locks.release_lock(key, "b")


def test_row_21_only_the_holder_releases(locks: LockManager, key: str) -> None:
    with pytest.raises(ValueError, match="is not held by 'a'"):
        locks.release_lock(key, "a")
    assert locks.acquire_lock(key, "b")
    with pytest.raises(ValueError, match="is not held by 'a'"):
        locks.release_lock(key, "a")
    locks.release_lock(key, "b")


def test_row_21_a_lock_that_was_held_long_enough_is_free(locks: LockManager, key: str) -> None:
    assert locks.acquire_lock(key, "a", hold_timeout=0.05)
    assert locks.acquire_lock(key, "b", acquire_timeout=SECONDS)
    with pytest.raises(ValueError, match="its hold_timeout is over"):
        locks.release_lock(key, "a")
    assert locks.is_lock_holder(key, "b")
    locks.release_lock(key, "b")


def test_row_21_of_many_threads_one_is_inside(locks: LockManager, key: str) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        assert locks.acquire_lock(key, str(number), SECONDS)
        inside.append(number)
        most.append(len(inside))
        inside.remove(number)
        locks.release_lock(key, str(number))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert most == [1] * 20


def test_row_21_waiting_in_a_loop_lets_it_go_round(locks: LockManager, key: str) -> None:
    async def main() -> None:
        assert await locks.aacquire_lock(key, "a")
        assert not await locks.aacquire_lock(key, "b", acquire_timeout=0.05)
        assert not await locks.await_for_lock(key, 0.05)
        waiting = [
            asyncio.create_task(locks.aacquire_lock(key, "b")),
            asyncio.create_task(locks.await_for_lock(key)),
        ]
        await asyncio.sleep(0)
        locks.release_lock(key, "a")
        assert await asyncio.wait_for(waiting[0], SECONDS)
        locks.release_lock(key, "b")
        assert await asyncio.wait_for(waiting[1], SECONDS)

    asyncio.run(main())


@pytest.fixture
def other(tmp_path: Path) -> Any:
    """A process that holds the lock "key" of a directory."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        yield process
        process.kill()


def test_row_21_files_lock_other_processes_out(other: Any, tmp_path: Path) -> None:
    locks = FileSystemLockManager(tmp_path)
    assert locks.is_lock_holder("key", "other")
    assert not locks.acquire_lock("key", "own", acquire_timeout=0)


def test_row_21_the_lock_of_a_process_that_was_killed_is_free(other: Any, tmp_path: Path) -> None:
    os.kill(other.pid, signal.SIGKILL)
    other.wait(SECONDS)
    locks = FileSystemLockManager(tmp_path)
    assert not locks.is_locked("key")
    assert locks.acquire_lock("key", "own", acquire_timeout=0)


def test_row_21_the_lock_of_another_machine_is_not_free(tmp_path: Path) -> None:
    locks = FileSystemLockManager(tmp_path)
    assert locks.acquire_lock("key", "there")
    file = tmp_path / "key.lock"
    file.write_text(file.read_text().replace('"host": "', '"host": "elsewhere-'))
    assert not locks.acquire_lock("key", "own", acquire_timeout=0)


def test_row_21_a_file_that_says_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "key.lock").write_text("{")
    with pytest.raises(ValueError, match=r"the lock file .*key\.lock cannot be read"):
        FileSystemLockManager(tmp_path).is_locked("key")


def test_row_22_a_store_uses_its_lock_manager(tmp_path: Path) -> None:
    store = ResultStore(result_storage=tmp_path, lock_manager=MemoryLockManager())
    assert store.acquire_lock("row 22")
    assert store.acquire_lock("row 22", timeout=0)
    assert not store.acquire_lock("row 22", "somebody", timeout=0)
    assert store.is_lock_holder("row 22", store.generate_default_holder())
    assert not store.wait_for_lock("row 22", timeout=0.05)
    assert not asyncio.run(store.aacquire_lock("row 22", "somebody", timeout=0))
    store.release_lock("row 22")
    assert not store.is_locked("row 22")
    assert asyncio.run(store.await_for_lock("row 22"))


def test_row_22_a_store_without_one_says_so(tmp_path: Path) -> None:
    store = ResultStore(result_storage=tmp_path)
    assert store.supports_isolation_level("READ_COMMITTED")
    assert not store.supports_isolation_level("SERIALIZABLE")
    with pytest.raises(ConfigurationError, match="has no lock manager"):
        store.acquire_lock("key")


def test_row_21_a_child_forked_meanwhile_does_not_hold_up_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, of_child = os.open, []

    def opened_as_by_a_fork(*args: Any) -> int:
        descriptor = opened(*args)
        of_child.append(os.dup(descriptor))
        return descriptor

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", opened_as_by_a_fork)
        assert FileSystemLockManager(tmp_path).acquire_lock("key", "me")
    with open(tmp_path / ".guard") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(of_child[0])
