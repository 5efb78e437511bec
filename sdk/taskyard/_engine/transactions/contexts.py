"""Transactions that code is put into, by ``with`` and by ``async with``."""

from collections.abc import Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

from taskyard._data.runs.transactions import TransactionState
from taskyard._durable_names import public
from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.futures.future import Future
from taskyard._engine.transactions.base import OVER, Hook
from taskyard._engine.transactions.ending import EndingTransaction, RolledBack
from taskyard._engine.transactions.hooks import beside
from taskyard._engine.transactions.task_runs import RunTransaction
from taskyard.context import active_transaction


class _AroundRuns(EndingTransaction):
    """A transaction that code is put into, which may submit task runs."""

    def parts_of(
        self,
        task: TaskDefinition[..., Any],
        futures: Sequence[Future[Any]],
        cache_key: str | None = None,
        is_lazy: bool = False,
    ) -> list[RunTransaction]:
        """Return what runs of a task will be here, before they are submitted; see `RunTransaction`."""
        parts = [RunTransaction(task, future, cache_key, is_lazy, self) for future in futures]
        if task.settings.on_rollback:
            self.keep(parts)
        return parts

    def follow(self, part: RunTransaction) -> None:
        """Make a run that was submitted a part of it."""
        self.add_child(part)
        self.open_runs[part.future.run_id] = part

    def set(self, name: str, value: Any) -> None:
        """Keep a value, a copy of it, for hooks and for the transactions inside this one.

        Args:
            name: What it is asked for by.
            value: Anything that can be copied.
        """
        super().set(name, value)
        self._values_changed()

    def stage(
        self,
        value: Any,
        on_rollback_hooks: Iterable[Hook] | None = None,
        on_commit_hooks: Iterable[Hook] | None = None,
    ) -> None:
        """Say that the work is done, what came of it, and what is to be called at the end.

        Args:
            value: What is written under the key, if there is one, when the transaction commits.
            on_rollback_hooks: Called with the transaction if it is rolled back, the last one first.
            on_commit_hooks: Called with the transaction when it commits.
        """
        super().stage(value, on_rollback_hooks, on_commit_hooks)
        if self.on_rollback_hooks and self.entered:
            self.keep([self])


@public("taskyard.transactions")
class Transaction(_AroundRuns):
    """A transaction of ordinary code: a context manager."""

    def begin(self) -> None:
        """Take the lock, if one is wanted, and look whether there is a record under the key."""
        self.state = TransactionState.ACTIVE
        while self._wants_lock() and not self._holds_lock:
            self._took_lock(self.store.acquire_lock(self.key, self._holder, self._longest_wait()))
        try:
            self._find_record()
        except BaseException:
            self._release()
            raise

    def commit(self) -> bool:
        """Commit now; says whether that was possible, else it was rolled back or has ended before."""
        return self.end_committed()

    def rollback(self) -> bool:
        """Roll back now; says whether that was done, and no hook raised."""
        return self.end_rolled_back()

    def commit_as_child(self) -> bool:
        """Commit as a part of the transaction around."""
        return self.commit()

    def roll_back_as_child(self) -> None:
        """Be rolled back as a part of the transaction around."""
        self.rollback()

    def __enter__(self) -> Self:
        """Begin.

        Raises:
            RuntimeError: It was entered before.
            ConfigurationError: It is SERIALIZABLE, and its store has no lock manager.
        """
        self._prepare()
        self.begin()
        self.entered = True
        active_transaction.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the runs that were submitted inside, and end."""
        active_transaction.set(self._parent)
        self.leave(error)


@public("taskyard.transactions")
class AsyncTransaction(_AroundRuns):
    """A transaction of asynchronous code: an asynchronous context manager. The loop goes on meanwhile."""

    async def begin(self) -> None:
        """Take the lock, if one is wanted, and look whether there is a record under the key."""
        self.state = TransactionState.ACTIVE
        while self._wants_lock() and not self._holds_lock:
            taken = await self.store.aacquire_lock(self.key, self._holder, self._longest_wait())
            self._took_lock(taken)
        try:
            await beside(self._find_record)
        except BaseException:
            self._release()
            raise

    async def commit(self) -> bool:
        """Commit now; says whether that was possible, else it was rolled back or has ended before."""
        await self.settle_async()
        return await beside(self.end_committed)

    async def rollback(self) -> bool:
        """Roll back now; says whether that was done, and no hook raised."""
        if self.state in OVER:
            return False
        await self.settle_async(RolledBack())
        return await beside(self.end_rolled_back)

    def commit_as_child(self) -> bool:
        """Commit as a part of the transaction around, in the thread that does that."""
        return self.end_committed()

    def roll_back_as_child(self) -> None:
        """Be rolled back as a part of the transaction around, in the thread that does that."""
        self.end_rolled_back()

    async def __aenter__(self) -> Self:
        """Begin.

        Raises:
            RuntimeError: It was entered before.
            ConfigurationError: It is SERIALIZABLE, and its store has no lock manager.
        """
        self._prepare()
        await self.begin()
        self.entered = True
        active_transaction.set(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the runs that were submitted inside, and end."""
        active_transaction.set(self._parent)
        if error is None or isinstance(error, Exception):
            try:
                await self.settle_async(error)
            except BaseException as interruption:
                await beside(partial(self.leave, interruption))
                raise
        await beside(partial(self.leave, error))
