"""How transactions end that others end, that are interrupted, or that end at the same time: section B13."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from taskyard import flow, task
from taskyard._engine.transactions import ending
from taskyard._engine.transactions.hooks import beside
from taskyard.locking.memory import MemoryLockManager
from taskyard.results import ResultStore
from taskyard.task_runners import AgentTaskRunner, SequentialTaskRunner, ThreadPoolTaskRunner
from taskyard.transactions import BaseTransaction, IsolationLevel, atransaction, get_transaction, transaction

pytestmark = pytest.mark.usefixtures("plane")

NOTED: list[str] = []
SECONDS = 20.0
RUNNERS = [AgentTaskRunner(), ThreadPoolTaskRunner(), SequentialTaskRunner()]


@pytest.fixture(autouse=True)
def nothing_noted() -> None:
    NOTED.clear()


@pytest.fixture(params=RUNNERS, ids=["agents", "threads", "sequential"])
def in_flow(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Runs a function as the body of a flow, with each task runner."""

    def run(body: Callable[..., Any], **options: Any) -> Any:
        return flow(task_runner=request.param, **options)(body)()

    return run


@task
def work() -> None:
    pass


@work.on_rollback
def undo(txn: BaseTransaction) -> None:
    NOTED.append("undo")


@work.on_commit
def keep(txn: BaseTransaction) -> None:
    NOTED.append("keep")


@task
def boom() -> None:
    raise ValueError("boom")


def locked(key: str) -> bool:
    return MemoryLockManager().is_locked(key)


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(lock_manager=MemoryLockManager(), result_storage=tmp_path)


def test_b13_what_is_inside_is_undone_when_the_code_has_rolled_back_around_it(in_flow: Any) -> None:
    def body() -> None:
        with transaction() as outer:
            with transaction() as inner:
                work()
                outer.rollback()
            NOTED.append(inner.state.name)

    in_flow(body)
    assert NOTED == ["undo", "ROLLED_BACK"]


def test_b13_what_is_inside_commits_when_the_code_has_committed_around_it(in_flow: Any) -> None:
    def body() -> None:
        with transaction() as outer, transaction() as inner:
            work()
            outer.commit()
        NOTED.append(inner.state.name)

    in_flow(body)
    assert NOTED == ["keep", "COMMITTED"]


def test_b13_one_that_outlives_the_one_around_ends_like_it(in_flow: Any, store: ResultStore) -> None:
    async def body() -> None:
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def outlive() -> None:
            level = IsolationLevel.SERIALIZABLE
            async with atransaction(key="outlives", store=store, isolation_level=level) as inner:
                await asyncio.to_thread(work)
                begun.set()
                await go_on.wait()
            NOTED.append(inner.state.name)

        async with atransaction():
            job = asyncio.create_task(outlive())
            await begun.wait()
        go_on.set()
        await job

    asyncio.run(in_flow(body))
    assert NOTED == ["keep", "COMMITTED"]
    assert not locked("outlives")


def test_b13_calls_that_give_futures_are_seen_at_the_end(in_flow: Any) -> None:
    def body() -> None:
        with transaction() as txn:
            work()
            boom()
            NOTED.append(txn.state.name)
        NOTED.append(txn.state.name)

    in_flow(lambda: (body(), 1)[1], task_calls="future")
    assert NOTED == ["ACTIVE", "undo", "ROLLED_BACK"]


def test_b13_asynchronous_hooks_of_many_transactions_may_use_the_threads_of_their_loop(in_flow: Any) -> None:
    count = 40  # more than a loop has threads

    async def one(all_here: asyncio.Barrier) -> None:
        async def on_rollback(txn: BaseTransaction) -> None:
            await all_here.wait()
            await asyncio.to_thread(NOTED.append, "undo")

        async with atransaction() as txn:
            txn.stage(1, on_rollback_hooks=[on_rollback])
            await txn.rollback()

    async def body() -> None:
        all_here = asyncio.Barrier(count)
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*[one(all_here) for _ in range(count)])

    asyncio.run(in_flow(body))
    assert ["undo"] * count == NOTED


def test_b13_the_end_is_awaited_however_often_the_waiting_code_is_cancelled() -> None:
    async def body() -> None:
        go_on = threading.Event()
        waiting = asyncio.create_task(beside(lambda: go_on.wait(SECONDS) and NOTED.append("ended")))
        for _ in range(3):
            await asyncio.sleep(0)
            waiting.cancel()
        await asyncio.sleep(0)
        assert not waiting.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(body())
    assert NOTED == ["ended"]


def test_b13_two_with_a_key_that_end_together_do_not_wait_for_each_other(
    in_flow: Any, store: ResultStore
) -> None:
    async def one(both: asyncio.Event) -> None:
        level = IsolationLevel.SERIALIZABLE
        async with atransaction(key="together", store=store, isolation_level=level):
            both.set() if NOTED else NOTED.append("first")
            await asyncio.sleep(0)

    async def body() -> None:
        async with asyncio.timeout(SECONDS), atransaction():
            both = asyncio.Event()
            await asyncio.gather(one(both), one(both))
            assert both.is_set()

    asyncio.run(in_flow(body))
    assert not locked("together")


def test_b13_a_hook_that_raises_leaves_no_lock(in_flow: Any, store: ResultStore) -> None:
    def raises(txn: BaseTransaction) -> None:
        raise RuntimeError("no")

    def body() -> None:
        with transaction() as outer:
            outer.stage(1, on_rollback_hooks=[raises])
            with transaction(key="left", store=store, isolation_level=IsolationLevel.SERIALIZABLE):
                pass
            assert locked("left")
            outer.rollback()

    in_flow(body)
    assert not locked("left")


def test_b13_an_asynchronous_generator_has_the_transaction_of_its_run(in_flow: Any) -> None:
    @task
    async def values() -> AsyncIterator[object]:
        yield get_transaction()
        async with atransaction() as own:
            yield own

    async def body() -> None:
        async with atransaction() as txn:
            seen = []
            async for value in values():
                assert get_transaction() is txn
                seen.append(value)
            assert txn not in seen
            assert not txn.children[0].open_runs

    asyncio.run(in_flow(body))


def test_b13_what_completed_is_undone_when_the_wait_for_others_is_interrupted(
    in_flow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = ending.wait_blocking
    interrupted = []

    def wait_blocking(future: Any, timeout: float | None) -> bool:
        if not interrupted:
            interrupted.append(future)
            waited(future, None)
            raise KeyboardInterrupt
        return waited(future, timeout)

    monkeypatch.setattr(ending, "wait_blocking", wait_blocking)

    def body() -> None:
        with transaction():
            work.submit().wait()
            raise ValueError("before the interruption")

    with pytest.raises(KeyboardInterrupt):
        in_flow(body)
    assert NOTED == ["undo"]
