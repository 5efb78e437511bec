"""Transactions without task runs: section B13, and rows 21 and 28."""

import asyncio
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from taskyard import remote_task
from taskyard.exceptions import ConfigurationError, MissingResult
from taskyard.locking.memory import MemoryLockManager
from taskyard.results import ResultStore
from taskyard.transactions import (
    AsyncTransaction,
    BaseTransaction,
    CommitMode,
    IsolationLevel,
    Transaction,
    TransactionState,
    atransaction,
    get_transaction,
    transaction,
)

SECONDS = 20.0


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(result_storage=tmp_path, lock_manager=MemoryLockManager())


class Calls:
    """Hooks that note that they were called."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def hook(self, name: str, error: Exception | None = None) -> Any:
        def note(txn: BaseTransaction) -> None:
            self.made.append(name)
            if error is not None:
                raise error

        return note

    def staged(self, name: str, **options: Any) -> None:
        """Stage a transaction inside the one that is open."""
        with transaction(**options) as txn:
            txn.stage(
                None,
                on_rollback_hooks=[self.hook(f"undo {name} 1"), self.hook(f"undo {name} 2")],
                on_commit_hooks=[self.hook(f"commit {name}")],
            )


@pytest.fixture
def calls() -> Calls:
    return Calls()


def test_b13_a_transaction_goes_through_its_states() -> None:
    txn = Transaction()
    assert txn.is_pending()
    with txn:
        assert txn.is_active()
        assert get_transaction() is txn
        txn.stage("done")
        assert txn.is_staged()
    assert txn.is_committed()
    assert get_transaction() is None


@pytest.mark.parametrize("state", TransactionState)
def test_b13_each_state_is_said_by_one_method(state: TransactionState) -> None:
    txn = Transaction(state=state)
    said = {name: getattr(txn, f"is_{name.lower()}")() for name in TransactionState.__members__}
    assert [name for name, yes in said.items() if yes] == [state.name]


def test_b13_an_exception_rolls_back_and_goes_on() -> None:
    with pytest.raises(ZeroDivisionError), transaction() as txn:
        _ = 1 / 0
    assert txn.is_rolled_back()
    assert get_transaction() is None


def test_b13_commit_calls_children_in_order_and_then_the_own_hooks(calls: Calls) -> None:
    with transaction() as txn:
        calls.staged("a")
        calls.staged("b")
        txn.stage(None, on_commit_hooks=[calls.hook("commit outer")])
        assert calls.made == []
    assert calls.made == ["commit a", "commit b", "commit outer"]


def test_b13_rollback_calls_own_hooks_and_then_children_all_in_reverse(calls: Calls) -> None:
    with suppress(KeyError), transaction() as txn:
        calls.staged("a")
        calls.staged("b")
        txn.stage(None, on_rollback_hooks=[calls.hook("undo outer 1"), calls.hook("undo outer 2")])
        raise KeyError
    assert calls.made == ["undo outer 2", "undo outer 1", "undo b 2", "undo b 1", "undo a 2", "undo a 1"]
    assert [child.is_rolled_back() for child in txn.children] == [True, True]


def test_b13_eager_commits_at_its_own_end(calls: Calls) -> None:
    with suppress(KeyError), transaction():
        calls.staged("eager", commit_mode=CommitMode.EAGER)
        calls.staged("lazy", commit_mode="LAZY")
        assert calls.made == ["commit eager"]
        raise KeyError
    assert calls.made == ["commit eager", "undo lazy 2", "undo lazy 1"]


def test_b13_children_inherit_mode_and_isolation() -> None:
    with transaction(commit_mode=CommitMode.EAGER, isolation_level="SERIALIZABLE"), transaction() as inner:
        assert (inner.commit_mode, inner.isolation_level) == (CommitMode.EAGER, IsolationLevel.SERIALIZABLE)
    with transaction() as txn:
        assert (txn.commit_mode, txn.isolation_level) == (CommitMode.LAZY, IsolationLevel.READ_COMMITTED)


def test_b13_off_rolls_back_unless_somebody_commits(calls: Calls) -> None:
    calls.staged("a", commit_mode=CommitMode.OFF)
    assert calls.made == ["undo a 2", "undo a 1"]
    with transaction(commit_mode=CommitMode.OFF) as txn:
        assert txn.commit()
        assert not txn.commit()
    assert txn.is_committed()


def test_b13_a_child_that_rolls_back_takes_the_parent_along_at_once(calls: Calls) -> None:
    with transaction() as outer:
        calls.staged("a")
        with pytest.raises(KeyError), transaction():
            raise KeyError
        assert outer.is_rolled_back()
        assert calls.made == ["undo a 2", "undo a 1"]
    assert outer.is_rolled_back()


def test_b13_an_error_in_a_commit_hook_rolls_back(calls: Calls, store: ResultStore) -> None:
    with transaction("key", store) as outer:
        calls.staged("a")
        with transaction() as inner:
            inner.stage(
                None,
                on_commit_hooks=[calls.hook("bad", ValueError("no"))],
                on_rollback_hooks=[calls.hook("undo")],
            )
    assert outer.is_rolled_back()
    assert inner.is_rolled_back()
    assert calls.made == ["commit a", "bad", "undo"]
    assert not store.exists("key")


def test_b13_an_error_in_a_rollback_hook_stops_the_rest_and_nothing_commits(
    calls: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    with transaction() as txn:
        calls.staged("child")
        txn.stage(
            None,
            on_commit_hooks=[calls.hook("commit")],
            on_rollback_hooks=[calls.hook("first"), calls.hook("bad", ValueError("no"))],
        )
        assert not txn.rollback()
    assert calls.made == ["bad"]
    assert txn.is_rolled_back()
    assert "these hooks were not called: note; 1 transactions inside were not rolled back" in caplog.text


def test_b13_values_are_copied_and_looked_up_in_parents() -> None:
    given = {"x": [1]}
    with transaction() as outer:
        outer.set("a", given)
        given["x"].append(2)
        assert outer.get("a") == {"x": [1]}
        with transaction() as inner:
            inner.get("a")["x"].append(3)
            assert inner.get("a") == {"x": [1]}
            inner.set("a", "own")
            outer.set("b", None)
            assert (inner.get("a"), outer.get("a"), inner.get("b", "other")) == ("own", {"x": [1]}, None)
            with pytest.raises(ValueError, match=r"has a value 'missing'; set it before"):
                inner.get("missing")
            assert inner.get("missing", None) is None


def test_b13_hooks_know_the_values_and_the_parent() -> None:
    seen: list[Any] = []

    def hook(txn: BaseTransaction) -> None:
        seen.extend((txn.get("name"), txn.get_parent(), get_transaction()))

    with suppress(KeyError), transaction() as outer:
        outer.set("name", "value")
        with transaction() as inner:
            inner.stage(None, on_rollback_hooks=[hook])
        raise KeyError
    assert seen == ["value", outer, None]


def test_b13_a_key_with_a_record_has_committed_before(store: ResultStore) -> None:
    with transaction("key", store) as first:
        assert not first.is_committed()
        first.stage({"a": 1})
    assert first.read().result == {"a": 1}
    with transaction("key", store) as second:
        assert second.is_committed()
        second.stage("other")
    assert store.read("key").result == {"a": 1}
    with transaction("key", store, overwrite=True) as third:
        assert not third.is_committed()
        third.stage("other")
    assert store.read("key").result == "other"


def test_b13_a_record_is_written_by_a_commit_alone(store: ResultStore) -> None:
    with suppress(KeyError), transaction("key", store) as txn:
        txn.stage("value")
        raise KeyError
    assert not store.exists("key")
    with transaction("key", store, write_on_commit=False) as txn:
        txn.stage("value")
    assert txn.is_committed()
    with pytest.raises(MissingResult):
        txn.read()


def test_b13_a_value_that_cannot_be_written_rolls_back(store: ResultStore, calls: Calls) -> None:
    with transaction("key", store) as txn:
        txn.stage(threading.Lock(), on_rollback_hooks=[calls.hook("undo")])
    assert txn.is_rolled_back()
    assert calls.made == ["undo"]


def test_b13_a_transaction_is_entered_once() -> None:
    txn = Transaction()
    with txn, pytest.raises(RuntimeError, match="can be entered once"), txn:
        pass
    with pytest.raises(RuntimeError, match="can be entered once"), txn:
        pass


FORKING = """
import os
from taskyard.transactions import transaction

own = os.getpid()
try:
    with transaction() as txn:
        who = lambda: "parent" if os.getpid() == own else "child"
        txn.stage(None, on_rollback_hooks=[lambda txn: print("undone by the", who())])
        if not os.fork():
            raise KeyError
        os.wait()
        raise KeyError
except KeyError:
    pass
"""


def test_b13_a_child_that_the_code_has_forked_undoes_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", FORKING], capture_output=True, text=True, check=True)
    assert done.stdout == "undone by the parent\n"


def test_row_21_serializable_needs_a_lock_manager(tmp_path: Path) -> None:
    without = ResultStore(result_storage=tmp_path)
    with (
        pytest.raises(
            ConfigurationError, match="'key' cannot have the isolation level SERIALIZABLE: that needs"
        ),
        transaction("key", without, isolation_level=IsolationLevel.SERIALIZABLE),
    ):
        pass
    with pytest.raises(ConfigurationError), Transaction(key="key", isolation_level="SERIALIZABLE"):
        pass
    assert get_transaction() is None


def test_row_21_serializable_transactions_take_turns(store: ResultStore) -> None:
    inside, leave = threading.Event(), threading.Event()
    order: list[str] = []

    def first() -> None:
        with transaction("key", store, isolation_level="SERIALIZABLE") as txn:
            inside.set()
            assert leave.wait(SECONDS)
            order.append("first")
            txn.stage(1)

    def second() -> None:
        with transaction("key", store, isolation_level="SERIALIZABLE") as txn:
            order.append("second")
            found.append(txn.is_committed())

    found: list[bool] = []
    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert inside.wait(SECONDS)
    threads[1].start()
    assert not store.wait_for_lock("key", 0.05)
    leave.set()
    for thread in threads:
        thread.join(SECONDS)
    assert order == ["first", "second"]
    assert found == [True]
    assert not store.is_locked("key")


@pytest.mark.parametrize("commit_mode", CommitMode)
def test_row_21_the_lock_is_released_however_it_ends(store: ResultStore, commit_mode: CommitMode) -> None:
    with (
        pytest.raises(KeyError),
        transaction("key", store, isolation_level="SERIALIZABLE", commit_mode=commit_mode),
    ):
        raise KeyError
    assert not store.is_locked("key")
    with transaction("key", store, isolation_level="SERIALIZABLE", commit_mode=commit_mode):
        assert store.is_locked("key")
    assert not store.is_locked("key")


def test_row_21_one_inside_with_the_same_key_shares_the_lock(store: ResultStore) -> None:
    with transaction("key", store, isolation_level="SERIALIZABLE"):
        with transaction("key", store, isolation_level="SERIALIZABLE", commit_mode="EAGER"):
            pass
        assert store.is_locked("key")
    assert not store.is_locked("key")


def test_row_21_one_after_another_with_the_same_key_inside_shares_it_too(store: ResultStore) -> None:
    """The first keeps its lock until the one around commits, and the second must not wait for that."""
    with transaction(isolation_level="SERIALIZABLE"):
        for _ in range(2):
            with transaction("key", store):
                assert store.is_locked("key")
    assert not store.is_locked("key")


def test_row_21_many_asynchronous_transactions_take_turns_in_one_loop(store: ResultStore) -> None:
    """More of them than there are threads for a loop: those that wait must not keep the one from its end."""
    runs: list[int] = []

    async def one(number: int) -> None:
        async with atransaction("key", store, isolation_level=IsolationLevel.SERIALIZABLE) as txn:
            if not txn.is_committed():
                runs.append(number)
                await asyncio.sleep(0)
                txn.stage(number)

    async def main() -> None:
        await asyncio.wait_for(asyncio.gather(*map(one, range(50))), SECONDS)

    asyncio.run(main())
    assert len(runs) == 1
    assert not store.is_locked("key")


def test_row_28_asynchronous_transactions_nest_and_await_their_hooks(calls: Calls) -> None:
    loops: list[Any] = []

    async def hook(txn: BaseTransaction) -> None:
        await asyncio.sleep(0)
        loops.append(asyncio.get_running_loop())

    async def main() -> None:
        own = asyncio.get_running_loop()
        async with atransaction() as outer:
            assert isinstance(outer, AsyncTransaction)
            async with atransaction() as inner:
                assert get_transaction() is inner
                inner.stage(1, on_commit_hooks=[hook])
            calls.staged("sync")
        assert outer.is_committed()
        assert inner.is_committed()
        with suppress(KeyError):
            async with atransaction() as failing:
                failing.stage(1, on_rollback_hooks=[hook])
                raise KeyError
        assert failing.is_rolled_back()
        async with atransaction() as undone:
            undone.stage(1, on_rollback_hooks=[hook])
            assert await undone.rollback()
        assert undone.is_rolled_back()
        assert loops == [own] * 3

    asyncio.run(main())
    assert calls.made == ["commit sync"]


def test_row_28_transactions_of_coroutines_side_by_side_do_not_meet() -> None:
    async def one(name: str) -> Any:
        async with atransaction() as txn:
            txn.set("name", name)
            await asyncio.sleep(0)
            found = get_transaction()
            return found is txn and found.get("name")

    async def main() -> list[Any]:
        return await asyncio.gather(one("a"), one("b"))

    assert asyncio.run(main()) == ["a", "b"]


def test_row_28_a_hook_that_is_a_coroutine_function_is_awaited_in_ordinary_code(calls: Calls) -> None:
    async def hook(txn: BaseTransaction) -> None:
        await asyncio.sleep(0)
        calls.made.append("done")

    with transaction() as txn:
        txn.stage(None, on_commit_hooks=[hook])
    assert calls.made == ["done"]


def test_row_28_hooks_of_a_remote_task_are_refused() -> None:
    """They would never be called: its runs are executed by whoever serves it."""
    with pytest.raises(ConfigurationError, match="remote task 'far' cannot have the option 'on_rollback'"):
        remote_task("far").on_rollback(print)
