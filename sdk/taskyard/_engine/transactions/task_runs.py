"""Task runs inside of a transaction: each is a transaction of its own, a child of the one around.

The run completes where it is executed. What is staged, committed and undone is in the process whose code
opened the transaction, so hooks of the task are called there, with the child as their argument.

Invariant: a run counts once it has ended for good; attempts that are repeated are no business of this.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from taskyard._data.runs.transactions import TransactionState
from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.futures.future import Future
from taskyard._engine.results.records import ResultRecord, ResultRecordMetadata
from taskyard._engine.transactions.base import BaseTransaction
from taskyard._engine.transactions.ending import EndingTransaction
from taskyard._engine.transactions.undoing import forget_result

if TYPE_CHECKING:
    from taskyard._network.session.session import Session


class RunTransaction(EndingTransaction):
    """The transaction that a task run is."""

    def __init__(
        self,
        task: TaskDefinition[..., Any],
        future: Future[Any],
        cache_key: str | None,
        is_lazy: bool,
        parent: BaseTransaction,
    ) -> None:
        """Follow a run that is about to be submitted.

        Args:
            task: The task, with its hooks.
            future: The run.
            cache_key: Its cache key, if that is known here.
            is_lazy: Whether the caller takes its values one by one, so that it may never end.
            parent: The transaction around.
        """
        super().__init__(key=cache_key or str(future.task_run_id), logger=parent.logger)
        self.commit_mode, self.isolation_level = parent.commit_mode, parent.isolation_level
        self.state = TransactionState.ACTIVE
        self.task = task
        self.future = future
        self.is_lazy = is_lazy
        self._cache_key = cache_key
        self._parent = parent
        self._is_unknown = False

    @property
    def hooks_to_keep(self) -> Sequence[Any]:
        """Hooks that are called if it is rolled back, the last one first; known before it is staged."""
        return self.task.settings.on_rollback

    @property
    def cache_key(self) -> str | None:
        """The cache key of the run, if that was known when it was submitted."""
        return self._cache_key

    @property
    def session(self) -> "Session":
        """Where the run was submitted."""
        found: Session = self.future.origin.session  # type: ignore[attr-defined]  # it is a scope
        return found

    def note_end(self) -> bool:
        """Stage what the run has done; says whether it did not fail."""
        if self.state != TransactionState.ACTIVE:  # it was noted before
            return not self.is_rolled_back()
        if self.future.done():
            state = self.future.get_state()
            if not state.is_completed():
                self.state = TransactionState.ROLLED_BACK  # nothing was staged, so there is nothing to undo
                return False
            if state.name == "Cached":  # another run did it, which is no part of this
                self.state = TransactionState.COMMITTED
                return True
        settings = self.task.settings
        self.stage(None, settings.on_rollback, settings.on_commit)
        return True

    def say_unknown(self) -> None:
        """Say, once, that the program does not wait for the run's end."""
        if self._is_unknown:
            return
        self._is_unknown = True
        self.logger.error(
            "task run %s of '%s' has not ended yet, and this program is being ended: what the run does from"
            " now on is not undone",
            self.future.task_run_id,
            self.task.name,
        )

    def read(self) -> Any:
        """Return a record of the run's value.

        Raises:
            Exception: Whatever the run raised.
        """
        return ResultRecord(metadata=ResultRecordMetadata(storage_key=self.key), result=self.future.result())

    def forget_results(self) -> None:
        """Have nobody find the result of the run any more: it says that something was done."""
        if not self.future.done():
            return
        try:
            forget_result(self.task, self.future, self._cache_key, self.session)
        except Exception:  # of the network, and of storage of the user's
            self.logger.exception(
                "the cached result of task run %s of '%s' could not be removed, so later runs may find it;"
                " 'taskyard cache clear' removes it",
                self.future.task_run_id,
                self.task.name,
            )

    def commit_as_child(self) -> bool:
        """Commit: the result was recorded when the run completed, so hooks are all there is."""
        return self.commit_now()

    def roll_back_as_child(self) -> None:
        """Be rolled back as a part of the transaction around."""
        self.roll_back_now()

    def _write(self) -> None:
        """Write nothing."""
