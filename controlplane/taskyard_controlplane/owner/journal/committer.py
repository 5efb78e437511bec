"""Natural group commit: commit at once when idle, gather while a commit is in flight.

No timers and no minimum batch: load alone decides how much goes into a transaction. Invariant: at most one
transaction or other use of the store is under way at any time, and what a commit promises to others is
done after it succeeded, in the order it was asked for.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from taskyard_api.v1.session_service_pb2 import FlowDecision
from taskyard_contract.clock import Clock
from taskyard_contract.errors import NotOwner, StorageFull, StorageUnavailable
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.metrics import Metrics
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.client_session import ClientSession
from taskyard_controlplane.storage.interface import CommitResult, Store, WriteBatch

T = TypeVar("T")
log = logging.getLogger(__name__)

INLINE_ROWS: Final = 12
"""A commit of so few rows is shorter than two thread switches, and the loop has nothing else to do."""
RIDE_SECONDS: Final = 0.05
"""How long a dispatch may go unrecorded when no other commit takes it along."""
RETRY_DELAYS: Final = (0.05, 0.1, 0.25, 0.5, 1.0)
NOTHING_FOUND: Final = CommitResult([], [], [])


class Commit:
    """One transaction, and what is to be done after it."""

    __slots__ = (
        "accepted", "decided", "duplicates", "effects", "overdue", "refused", "reported", "rows",
        "submitted", "then",
    )  # fmt: skip

    def __init__(self, number: int) -> None:
        """Start an empty commit."""
        self.rows = WriteBatch(number)
        self.submitted: list[Run] = []
        self.accepted: dict[ClientSession, int] = {}
        self.reported: dict[AgentSession, int] = {}
        self.effects: list[tuple[Run, int]] = []
        self.decided: list[tuple[ClientSession, FlowDecision]] = []
        self.then: list[Callable[[], None]] = []
        self.refused: StorageFull | None = None
        """Why it was written without the new runs it once had."""
        self.duplicates: frozenset[bytes] = frozenset()
        """New runs that were not written, because the database had their ids."""
        self.overdue = False

    def empty(self) -> bool:
        """Whether there is nothing to write and nothing to do, but for rows that wait to be taken along."""
        return not (
            self.rows.rows() - len(self.rows.dispatches)
            or self.overdue
            or self.accepted
            or self.reported
            or self.effects
            or self.decided
            or self.then
            or self.submitted
        )


class Committer:
    """Owns the store and the thread that uses it."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        metrics: Metrics,
        *,
        committed: Callable[[Commit, CommitResult], None],
        refused: Callable[[Commit, StorageFull], None],
        fatal: Callable[[BaseException], None],
    ) -> None:
        """Commit to `store`.

        Args:
            store: The database.
            clock: Wall time goes into batches, monotonic time into metrics.
            metrics: Where commits are counted.
            committed: Called after each successful commit.
            refused: Called when the database is full, before the batch is tried again without the new runs
                that this callback must have taken out of it.
            fatal: Called when this process must not go on: it lost ownership, or has a defect.
        """
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._committed = committed
        self._refused = refused
        self._fatal = fatal
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="taskyard-writer")
        self._number = 1
        self._busy = False
        self._scheduled = False
        self._riding = False
        self._failures = 0
        self._jobs: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self.open = Commit(self._number)
        self.stalled_since: float | None = None
        self.full: StorageFull | None = None
        """Set while something waits for room in the database."""
        self._dead: BaseException | None = None
        self._closed = False
        self._job_was_last = False
        self._waiters: set[asyncio.Future[None]] = set()

    def touch(self) -> None:
        """Note that the open commit has something in it."""
        if not self._scheduled and not self._busy and self._dead is None:
            self._scheduled = True
            self._loop.call_soon(self._pump)

    def take_along(self) -> None:
        """Note that the open commit has rows that ride on the next commit, or go alone after a while."""
        if not self._riding:
            self._riding = True
            self._loop.call_later(RIDE_SECONDS, self._ride_over)

    def _ride_over(self) -> None:
        self._riding = False
        if self.open.rows.dispatches:
            self.open.overdue = True
            self.touch()

    def run(self, job: Callable[[], T]) -> "asyncio.Future[T]":
        """Use the store for something else, between two commits."""
        future: asyncio.Future[T] = self._loop.create_future()
        if self._dead is not None:
            future.set_exception(self._dead)
        else:
            self._jobs.append((job, future))
            self.touch()
        return future

    @property
    def idle(self) -> bool:
        """Whether nothing is written and nothing waits to be."""
        return not self._busy and not self._jobs and self.open.empty()

    async def durable(self) -> None:
        """Wait until everything that is in the open commit now is durable.

        Raises:
            TaskyardError: It never will be, because this process lost the database or found a defect.
        """
        if self._dead is not None:
            raise self._dead
        done: asyncio.Future[None] = self._loop.create_future()
        self._waiters.add(done)
        self.open.then.append(lambda: None if done.done() else done.set_result(None))
        self.touch()
        try:
            await done
        finally:
            self._waiters.discard(done)

    async def flush(self) -> None:
        """Wait until there is nothing left to write. Call when nobody submits or reports any more."""
        while not self.idle and self._dead is None:
            await self.durable()

    async def close(self) -> None:
        """Give the database up. Call after `flush`, or while the database refuses commits."""
        self._closed = True
        self._refuse_all(StorageUnavailable("this control plane is stopping; connect again"))
        await self._loop.run_in_executor(self._thread, self._store.close)
        self._thread.shutdown(wait=True)

    def _pump(self) -> None:
        self._scheduled = False
        if self._busy or self._closed:
            return
        # In turn, so that neither look-ups nor commits wait for ever behind the other.
        if self._jobs and not (self._job_was_last and not self.open.empty()):
            self._job_was_last = True
            self._start_job()
        elif not self.open.empty():
            self._job_was_last = False
            commit, self._number = self.open, self._number + 1
            self.open = Commit(self._number)
            self._write(commit)

    def _write(self, commit: Commit) -> None:
        rows = commit.rows.rows()
        if not rows:
            if commit.refused is not None:
                self.stalled_since = self.full = None  # what waited was refused
            self._finish(commit, NOTHING_FOUND)
            return
        commit.rows.now_us = self._clock.now_us()
        self._busy = True
        started = self._clock.monotonic()
        if rows <= INLINE_ROWS and self._store.small_commits_are_fast:
            try:
                result = self._store.commit(commit.rows)
            except Exception as error:
                self._failed(commit, error)
            else:
                self._succeeded(commit, result, started)
            return
        future = self._loop.run_in_executor(self._thread, self._store.commit, commit.rows)
        future.add_done_callback(lambda done: self._written(commit, done, started))

    def _written(self, commit: Commit, future: "asyncio.Future[CommitResult]", started: float) -> None:
        error = future.exception()
        if error is None:
            self._succeeded(commit, future.result(), started)
        else:
            self._failed(commit, error)

    def _succeeded(self, commit: Commit, result: CommitResult, started: float) -> None:
        metrics = self._metrics
        metrics.commits += 1
        metrics.committed_rows += commit.rows.rows()
        metrics.commit_seconds += self._clock.monotonic() - started
        if self._failures:
            log.warning("the database takes commits again", extra={"event": "storage_recovered"})
        self._failures, self.stalled_since, self.full = 0, None, None
        self._finish(commit, result)

    def _finish(self, commit: Commit, result: CommitResult) -> None:
        try:
            self._committed(commit, result)
        except Exception as error:
            log.critical("the owner failed after a commit", exc_info=error)
            self._die(error)
            return
        self._busy = False
        self.touch()

    def _die(self, error: BaseException) -> None:
        """Write nothing more, and tell whoever waits."""
        self._refuse_all(error)
        self._fatal(error)

    def _refuse_all(self, error: BaseException) -> None:
        self._dead = error
        for waiter in [*self._waiters, *(future for _, future in self._jobs)]:
            if not waiter.done():
                waiter.set_exception(error)
        self._jobs.clear()

    def _failed(self, commit: Commit, error: BaseException) -> None:
        self._metrics.commit_failures += 1
        if isinstance(error, StorageFull):
            self.full = error
            # What arrived meanwhile must not wait either: this commit may hold it up until there is room.
            for refused in (commit, self.open):
                if not refused.rows.repeated:  # or its runs may be recorded, and have to be waited for
                    self._refused(refused, error)
        elif isinstance(error, StorageUnavailable):
            commit.rows.repeated = True
        else:
            if not isinstance(error, NotOwner):
                log.critical("a commit failed for a reason nobody foresaw", exc_info=error)
            self._die(error)
            return
        if self.stalled_since is None:
            self.stalled_since = self._clock.monotonic()
        if not self._failures:
            log.error("the database refuses commits: %s", error, extra={"event": "storage_failed"})
        delay = RETRY_DELAYS[min(self._failures, len(RETRY_DELAYS) - 1)]
        self._failures += 1
        self._loop.call_later(0 if commit.empty() else delay, self._write_again, commit)

    def _write_again(self, commit: Commit) -> None:
        if not self._closed:
            self._busy = False
            self._write(commit)

    def _start_job(self) -> None:
        job, future = self._jobs.pop(0)
        self._busy = True
        running = self._loop.run_in_executor(self._thread, job)
        running.add_done_callback(lambda done: self._job_done(done, future))

    def _job_done(self, done: "asyncio.Future[Any]", future: "asyncio.Future[Any]") -> None:
        self._busy = False
        error = done.exception()
        if isinstance(error, NotOwner):
            self._die(error)
        if not future.done():
            if error is None:
                future.set_result(done.result())
            else:
                future.set_exception(error)
        self.touch()
