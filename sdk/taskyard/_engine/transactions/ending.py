"""How transactions end: runs are waited for, then everything is committed, or undone in reverse.

All of this may wait, for runs, hooks and storage. Asynchronous transactions call it in a thread.

Invariant: what is rolled back has ended before: no run goes on with an effect that nobody undoes, unless the
whole program is being ended and does not wait.
"""

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from taskyard._data.runs.transactions import CommitMode, TransactionState
from taskyard._engine.futures.future import Future
from taskyard._engine.futures.waiting import wait_async, wait_blocking
from taskyard._engine.results.records import ResultRecord
from taskyard._engine.results.store import ResultStore
from taskyard._engine.transactions.base import OVER, FollowedRun
from taskyard._engine.transactions.hooks import beside, name_of
from taskyard._engine.transactions.kept import KeptTransaction, committing
from taskyard.exceptions import FlowTimedOut, ResultStorageError
from taskyard_contract.errors import TaskyardError

INTERRUPTED_SECONDS: Final = 5.0
"""How long a program that is being ended waits for runs that it has cancelled."""


class RolledBack(Exception):
    """Something inside could not commit, or the code said so: runs that have not started are not wanted."""


class _Lost(RolledBack):
    """Agents roll back, because the flow run was taken for lost."""


class EndingTransaction(KeptTransaction):
    """The steps at the end of a transaction."""

    failed_inside = False
    """Whether one of its runs has ended for good, and not by completing."""
    _deadline: float | None = None
    """Until when a program that is being ended waits for its runs, however often that is interrupted."""

    def settle(self, error: BaseException | None = None) -> None:
        """Wait for its task runs to end, and note how they did.

        Args:
            error: What ends the code inside. Runs that have not started are not wanted any more; where the
                program itself is being ended, none are.
        """
        is_end = error is not None and not isinstance(error, (Exception, FlowTimedOut))
        if error is not None:
            self._give_up(is_end)
        try:
            self._wait_blocking(is_end)
        except BaseException as interruption:
            if not is_end:
                self.settle(interruption)
            raise
        finally:  # what has completed is undone, even if this is interrupted again
            self.note_ends()

    def _wait_blocking(self, is_end: bool) -> None:
        if is_end and self._deadline is None:
            self._deadline = time.monotonic() + INTERRUPTED_SECONDS
        until = self._deadline if is_end else None
        for child in self._awaited():
            if not wait_blocking(child.future, None if until is None else max(0, until - time.monotonic())):
                child.say_unknown()

    async def settle_async(self, error: Exception | None = None) -> None:
        """Wait in an event loop, before `settle` is called in a thread: that takes none, and can be left."""
        if error is not None:
            self._give_up(is_end=False)
        for child in self._awaited():
            await wait_async(child.future, None)

    def _awaited(self) -> list[FollowedRun]:
        """Return the runs to wait for: a generator ends when its caller says so, who may be waiting here."""
        return [child for child in list(self.open_runs.values()) if not child.is_lazy]

    def _give_up(self, is_end: bool) -> None:
        by_session: dict[Any, list[bytes]] = {}
        for child in self._awaited():
            if not child.future.done():
                by_session.setdefault(child.session, []).append(child.future.run_id)
        for session, run_ids in by_session.items():
            with suppress(TaskyardError):  # nobody can be told, and what has completed is undone all the same
                (session.cancel if is_end else session.withdraw)(run_ids)

    def note_ends(self) -> bool:
        """Stage what its runs have done that ended; says whether all of them completed."""
        completed = True
        for run_id, child in list(self.open_runs.items()):
            if not (child.future.done() or child.is_lazy):
                continue
            completed = child.note_end() and completed
            self._take_along(child)
            self.open_runs.pop(run_id, None)
        if not completed:
            self.failed_inside = True
        return completed

    def _take_along(self, child: FollowedRun) -> None:
        """Do to a run that ended late what was done to this transaction before."""
        if self.state == TransactionState.ROLLED_BACK:
            child.roll_back_now()
        elif self.state == TransactionState.COMMITTED:
            child.commit_now()

    def saw_end(self, run_id: bytes) -> None:
        """Note that a run has ended whose caller waited for it: if it failed, all is undone at once."""
        child = self.open_runs.get(run_id)
        if child is None:
            return
        completed = child.note_end()
        self.open_runs.pop(run_id, None)  # not before: whatever interrupts this, the run is not forgotten
        if completed:
            self._take_along(child)
        else:
            self.failed_inside = True
            self.end_rolled_back()

    async def saw_end_async(self, future: Future[Any]) -> None:
        """Do so in an event loop, which goes on while something is undone."""
        if self.state in OVER or not future.completed():
            if self.state not in OVER and future.run_id in self.open_runs:
                await self.settle_async(RolledBack())
            await beside(partial(self.saw_end, future.run_id))
        else:
            self.saw_end(future.run_id)

    def end_rolled_back(self, error: BaseException | None = None) -> bool:
        """Roll back, after runs that have not ended have done so; says whether that was possible."""
        if self.state in OVER:
            return False
        try:
            self.settle(error or RolledBack())
        finally:
            done = self.roll_back_now()
        return done

    def end_committed(self) -> bool:
        """Commit, after runs that have not ended have done so; says whether that was possible."""
        self.settle()
        if self.failed_inside and self.state not in OVER:
            self.roll_back_now()
            return False
        return self.commit_now()

    def leave(self, error: BaseException | None) -> None:
        """End the code inside: commit, roll back, or leave that to the transaction around."""
        if os.getpid() != self._process:
            return  # a child that the code has forked: the transaction is its parent's
        try:
            if error is None:
                self._leave_well()
            elif self.state in OVER:
                self.settle(error)
            else:
                self.end_rolled_back(error)
        finally:
            self.entered = False
            parent = self._parent
            if parent is not None:
                parent.add_child(self)
            if self.state in OVER:
                self._release()
            if isinstance(parent, EndingTransaction) and self.state == TransactionState.ROLLED_BACK:
                parent.end_rolled_back(error)

    def _leave_well(self) -> None:
        try:
            self.settle()
        except BaseException as error:  # something from outside, while it waited
            self.end_rolled_back(error)
            raise
        if self.failed_inside:
            self.roll_back_now()
        elif self.commit_mode == CommitMode.EAGER:
            self.commit_now()
        elif self._parent is not None and self._parent.state not in OVER:
            pass  # it is responsible from here on
        elif self._parent is not None:
            self._follow_parent()
        elif self.commit_mode == CommitMode.OFF:
            self.roll_back_now()
        else:
            self.commit_now()

    def _follow_parent(self) -> None:
        """Do what was done to the transaction around, which has ended before this one."""
        assert self._parent is not None
        if self._parent.is_committed():
            self.commit_now()
        else:
            self.roll_back_now()

    def commit_now(self) -> bool:
        """Commit what has ended: children in order, hooks, then the record; says whether that was done."""
        if self.state in OVER:
            self._release()
            return False
        try:
            self._commit_parts()
        except BaseException as error:
            self._say_not_committed(error)
            self.roll_back_now()
            if not isinstance(error, Exception):
                raise
            return False
        self.state = TransactionState.COMMITTED
        self._is_done()
        self._release()
        return True

    def _commit_parts(self) -> None:
        if self._is_lost():
            raise _Lost
        with committing():
            for child in tuple(self.children):
                if not child.commit_as_child() and child.is_rolled_back():
                    raise RolledBack
        for hook in tuple(self.on_commit_hooks):
            self.run_hook(hook, "commit")
        if self._is_lost():  # while hooks were called; a record would say that it has committed
            raise _Lost
        self._write()

    def _write(self) -> None:
        if self.store is None or not self.key or not self.write_on_commit:
            return
        value = self._staged_value
        if not isinstance(value, ResultRecord):
            if self._kept() is None or not isinstance(self.store, ResultStore):
                self.store.write(key=self.key, obj=value)
                return
            value = self.store.create_result_record(value, key=self.key)
        value.metadata.transaction = self.commit_id
        self.store.persist_result_record(value)

    def _say_not_committed(self, error: BaseException) -> None:
        what = f"the transaction {self.key!r}" if self.key else "the transaction"
        if isinstance(error, _Lost):
            pass  # that is said where it is not undone
        elif isinstance(error, RolledBack):
            self.logger.warning("%s is rolled back, because one inside of it was", what)
        elif isinstance(error, ResultStorageError):
            self.logger.error("%s is rolled back, because its record could not be written: %s", what, error)
        else:
            self.logger.error("%s could not commit and is rolled back", what, exc_info=error)

    def roll_back_now(self) -> bool:
        """Undo what has ended: own hooks, then children, both in reverse; says whether all were called."""
        if self.state in OVER:
            return False
        self.state = TransactionState.ROLLED_BACK
        left = list(self.on_rollback_hooks)
        try:
            if self._is_undone_elsewhere():
                return False
            self.forget_results()
            while left:
                self.run_hook(left.pop(), "rollback")
                self._was_called(len(left))
            for child in reversed(self.children):
                child.roll_back_as_child()
            self._is_done()
            return True
        except FlowTimedOut:
            self._say_not_undone(left)
            self._is_done()
            raise
        except Exception:  # user code
            self._say_not_undone(left)
            self._is_done()
            return False
        finally:
            self.release_all()

    def forget_results(self) -> None:
        """Have nobody find what is about to be undone; of task runs there may be results in a cache."""

    def _say_not_undone(self, left: Iterable[Any]) -> None:
        names = ", ".join(name_of(hook) for hook in left)
        more = f"; these hooks were not called: {names}" if names else ""
        children = f"; {len(self.children)} transactions inside were not rolled back" if self.children else ""
        what = repr(self.key) if self.key else "without a key"
        self.logger.exception("the transaction %s could not be rolled back%s%s", what, more, children)
