"""Natural group commit: commit at once when idle, gather while a commit is under way.

Theory of operation. There is one open commit, which everybody writes into, and at most one use of the store
under way: a transaction, or a job (a read, a blob, upkeep). Nothing has a timer or a minimum size: the first
row schedules a commit for the end of this round of the event loop, what arrives while it is written gathers
in the next one, and so load alone decides how much goes into a transaction. Under load that is thousands of
rows for one fsync; when idle it is one row, at once.

    IDLE -> SCHEDULED -> WRITING -> IDLE          the ordinary round
                         WRITING -> TROUBLED -> WRITING ...   the database refuses; the same batch is repeated
                         WRITING -> WRITING   a row can never be written: it is looked for, and set aside
            SCHEDULED -> WORKING -> IDLE          a job; jobs and commits take turns
    any -> OVER                                   stopped, lost the database, or found a defect

Orders that matter:
- What a commit promises is kept after it succeeded and before the next one starts (`AfterCommits.committed`),
  so whatever follows from it lands in the next commit, never in a later one.
- A batch whose COMMIT got no answer may be in the database. It is repeated as it is, marked `repeated`, and
  nothing may be taken out of it any more.
- When the database is full the new runs are refused, those of the open commit too, or nothing that ends runs
  (and so makes room) would ever get through. How long to wait is a matter of the database, not of the commit:
  one of which nothing is left keeps its promises at once, and what comes after it waits all the same.
- A row that does not fit into the database takes along nothing but its run. What stands in its place is
  written in the same transaction as everything else of the commit, so that its promises hold.
- The end of a run waits for the log records it sent before, and nothing else does (`LogWriter`).
- Jobs see what was committed before them, and nothing of the open commit, which `durable` waits for.

A few rows are written on the loop's own thread where the store allows it: two thread switches take longer.
A database that neither takes a commit nor refuses it shows as well: `response` times what is under way.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

from taskyard_contract.clock import Clock
from taskyard_contract.errors import NotOwner, StorageFull, StorageUnavailable
from taskyard_controlplane.owner.journal.commit import AfterCommits, Commit, Phase
from taskyard_controlplane.owner.journal.response import Response
from taskyard_controlplane.owner.logs.writer import LogWriter
from taskyard_controlplane.owner.metrics import Metrics
from taskyard_controlplane.storage.interface import CommitResult, DatabaseLost, RefusedRow, RowsRefused, Store

T = TypeVar("T")
log = logging.getLogger(__name__)

RIDE_SECONDS: Final = 0.05
"""How long a dispatch may go unrecorded when no other commit takes it along: a run that is assigned and not
recorded costs a second execution after a crash, so not for long; but reports mostly come sooner."""
RETRY_DELAYS: Final = (0.05, 0.1, 0.25, 0.5, 1.0)
"""Between attempts to repeat a commit: a restart of a database takes a second, a full disk takes people."""
OVER: Final = (NotOwner, DatabaseLost)
"""What this process cannot go on after; its exit says why."""
NOTHING_FOUND: Final = CommitResult([], [], [])


class Committer:
    """Owns the store and the thread that uses it."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        metrics: Metrics,
        *,
        fatal: Callable[[BaseException], None],
        logs: LogWriter,
        writer: Executor | None = None,
    ) -> None:
        """Commit to `store`.

        Args:
            store: The database.
            clock: Wall time goes into batches, monotonic time into metrics.
            metrics: Where commits are counted.
            fatal: Called when this process must not go on: it lost ownership, or has a defect.
            logs: What runs log; an end is not committed before what its run has logged is stored.
            writer: Where the store is used, by one at a time; None for a thread of its own.
        """
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._fatal = fatal
        self.logs = logs
        self._after: AfterCommits
        self._loop = asyncio.get_running_loop()
        self._writer = writer or ThreadPoolExecutor(1, thread_name_prefix="taskyard-writer")
        self._phase = Phase.IDLE
        self._number = 1
        self.open = Commit(self._number)
        self._written_now: Commit | None = None
        self._jobs: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self._job_was_last = self._riding = False
        self._failures = 0
        self.stalled_since: float | None = None
        """Since when the database refuses commits."""
        self.response = Response(clock)
        self.recorded_seq = 0  # of the newest run that is durable; those before it are too
        self.full: StorageFull | None = None
        """Set while something waits for room in the database."""
        self._over: BaseException | None = None
        """Why nothing will ever be durable any more."""
        self._waiters: dict[asyncio.Future[None], None] = {}  # a set in order

    def serve(self, after: AfterCommits) -> None:
        """Have promises kept by `after`. To be called before anything is written."""
        self._after = after

    # What others ask for.

    def touch(self) -> None:
        """Note that the open commit has something in it."""
        if self._phase is Phase.IDLE:
            self._phase = Phase.SCHEDULED
            self._loop.call_soon(self._start)

    def renew(self) -> None:
        """Make the open commit anew, if nothing is in it: its lists keep the memory around where they lie."""
        if self.idle:
            self.open = self.open.renewed()

    def take_along(self) -> None:
        """Note that the open commit has rows that ride on the next commit, or go alone after a while."""
        if not self._riding:
            self._riding = True
            self._loop.call_later(RIDE_SECONDS, self._ride_over)

    def _ride_over(self) -> None:
        self._riding = False
        if self.open.riding:
            self.open.overdue = True
            self.touch()

    def run(self, job: Callable[[], T]) -> "asyncio.Future[T]":
        """Use the store for something else, between two commits."""
        future: asyncio.Future[T] = self._loop.create_future()
        if self._over is not None:
            future.set_exception(self._over)
        else:
            self._jobs.append((job, future))
            self.touch()
        return future

    @property
    def idle(self) -> bool:
        """Whether nothing is written and nothing waits to be."""
        under_way = self._phase in (Phase.WRITING, Phase.TROUBLED, Phase.WORKING)
        return not under_way and not self._jobs and self.open.empty()

    @property
    def stalled(self) -> bool:
        """Whether the database takes no commits: it refuses them, or has not answered for seconds.

        May be asked by any thread, also while the loop itself waits for the database.
        """
        return self.stalled_since is not None or self.response.overdue

    @property
    def uncommitted_bytes(self) -> int:
        """How much payload was accepted and is not durable: in the open commit and in the one under way.

        The only place that knows: whoever takes payload in counts it in its commit, and whoever may refuse
        it, or wait with reading more, asks here.
        """
        under_way = self._written_now
        return self.open.payload_bytes + (under_way.payload_bytes if under_way is not None else 0)

    def undurable(self) -> list[Commit]:
        """Return the commits that are not durable: the one under way, and the open one."""
        return [self.open] if self._written_now is None else [self._written_now, self.open]

    async def durable(self) -> None:
        """Wait until everything that is in the open commit now is durable.

        Raises:
            TaskyardError: It never will be, because this process lost the database or found a defect.
        """
        if self._over is not None:
            raise self._over
        done: asyncio.Future[None] = self._loop.create_future()
        self._waiters[done] = None
        self.open.then.append(lambda: None if done.done() else done.set_result(None))
        self.touch()
        try:
            await done
        finally:
            self._waiters.pop(done, None)

    async def flush(self) -> None:
        """Wait until there is nothing left to write. Call when nobody submits or reports any more."""
        while not self.idle and self._over is None:
            await self.durable()

    def abandon(self) -> None:
        """Start nothing more, and let nobody wait; what is not written never will be."""
        self._refuse_all(StorageUnavailable("this control plane is stopping; connect again"))

    async def close(self) -> None:
        """Give the database up. Call after `flush`, or while the database refuses commits."""
        self.abandon()
        await self._loop.run_in_executor(self._writer, self._store.close)
        self._writer.shutdown(wait=True)

    # The round.

    def _start(self) -> None:
        if self._phase is not Phase.SCHEDULED:
            return
        self._phase = Phase.IDLE
        # In turn, so that neither look-ups nor commits wait for ever behind the other.
        if self._jobs and not (self._job_was_last and not self.open.empty()):
            self._job_was_last = True
            self._work(*self._jobs.pop(0))
        elif not self.open.empty():
            self._job_was_last = False
            commit, self._number = self.open, self._number + 1
            self.open = Commit(self._number)
            commit.log_batch = self.logs.latest
            if commit.log_batch > self.logs.written and commit.ends_any(self.logs.holds):
                self._phase, self._written_now = Phase.WRITING, commit
                self.logs.when_settled(commit.log_batch, partial(self._write, commit))
            else:
                self._write(commit)

    def _write(self, commit: Commit) -> None:
        if self._phase is Phase.OVER:
            return  # while it waited for logs
        self._phase, self._written_now = Phase.WRITING, commit
        rows = commit.rows.rows()
        if not rows:
            self._finish(commit, NOTHING_FOUND)
            return
        commit.rows.now_us = self._clock.now_us()
        started = self.response.awaited()
        store = self._store
        if commit.is_small(rows) and store.small_commits_are_fast and not store.checkpoint_due:
            try:
                result = self._store.commit(commit.rows)
                self.response.look()  # nobody else could meanwhile
            except Exception as error:
                self._failed(commit, error)
            else:
                self._succeeded(commit, result, started)
            return
        future = self._loop.run_in_executor(self._writer, self._store.commit, commit.rows)
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
        metrics.commit_seconds += self.response.came() - started
        if self._failures:
            log.warning("the database takes commits again", extra={"event": "storage_recovered"})
        self._failures, self.stalled_since, self.full = 0, None, None
        self._finish(commit, result)

    def _finish(self, commit: Commit, result: CommitResult) -> None:
        if self._kept_promises(commit, result):
            self._free()

    def _kept_promises(self, commit: Commit, result: CommitResult) -> bool:
        self._written_now = None
        self.recorded_seq = max(self.recorded_seq, commit.last_new_seq())
        try:
            self._after.committed(commit, result)
        except Exception as error:
            log.critical("the owner failed after a commit", exc_info=error)
            self._die(error)
            return False
        return True

    def _free(self) -> None:
        if self._phase is not Phase.OVER:
            self._phase = Phase.IDLE
            if not self.idle:
                self.touch()

    def _work(self, job: Callable[[], Any], future: "asyncio.Future[Any]") -> None:
        self._phase = Phase.WORKING
        self.response.awaited()
        running = self._loop.run_in_executor(self._writer, job)
        running.add_done_callback(lambda done: self._worked(done, future))

    def _worked(self, done: "asyncio.Future[Any]", future: "asyncio.Future[Any]") -> None:
        self.response.came()
        error = done.exception()
        if isinstance(error, OVER):
            self._die(error)
        if not future.done():
            if error is None:
                future.set_result(done.result())
            else:
                future.set_exception(error)
        self._free()

    # Trouble.

    def _failed(self, commit: Commit, error: BaseException) -> None:
        self._metrics.commit_failures += 1
        self.response.came()
        if isinstance(error, StorageFull):
            self.full = error
            # What arrived meanwhile must not wait either: this commit may hold it up until there is room.
            for refused in (commit, self.open):
                if not refused.rows.repeated:  # or its runs may be recorded, and have to be waited for
                    self._after.refused(refused, error, behind=commit.rows.repeated)
        elif isinstance(error, StorageUnavailable):
            commit.rows.repeated = True
        elif isinstance(error, RowsRefused):
            self._look_for_rows(commit, error)
            return
        else:
            if not isinstance(error, OVER):
                log.critical("a commit failed for a reason nobody foresaw", exc_info=error)
            self._die(error)
            return
        self._wait_for_the_database(commit, error)

    def _wait_for_the_database(self, commit: Commit, error: BaseException) -> None:
        if self.stalled_since is None:
            self.stalled_since = self._clock.monotonic()
        if not self._failures:
            log.error("the database refuses commits: %s", error, extra={"event": "storage_failed"})
        delay = RETRY_DELAYS[min(self._failures, len(RETRY_DELAYS) - 1)]
        self._failures += 1
        if self._phase is not Phase.OVER:
            self._phase = Phase.TROUBLED
        if not commit.rows.rows():
            self._loop.call_soon(self._kept_promises_in_trouble, commit)
        self._loop.call_later(delay, self._try_again)

    def _kept_promises_in_trouble(self, commit: Commit) -> None:
        """Finish a commit of which the database has left nothing to write; what it moved on waits."""
        if self._phase is Phase.TROUBLED and self._written_now is commit:
            self._kept_promises(commit, NOTHING_FOUND)

    def _try_again(self) -> None:
        """Ask the database again, if there is anything to ask it for."""
        if self._phase is not Phase.TROUBLED:
            return
        if self._written_now is not None:
            self._write(self._written_now)
            return
        if not self.open.rows.rows():
            self.stalled_since = self.full = None  # what waited was refused: what comes next finds out
        self._free()

    def _look_for_rows(self, commit: Commit, error: RowsRefused) -> None:
        """Find out which rows of a commit can never be written; nothing of it has been."""
        if self._phase is Phase.OVER:
            return
        log.error("a commit holds what the database cannot store", exc_info=error)
        self.response.awaited()
        future = self._loop.run_in_executor(self._writer, self._store.refused_rows, commit.rows)
        future.add_done_callback(lambda done: self._found_rows(commit, error, done))

    def _found_rows(
        self, commit: Commit, error: RowsRefused, future: "asyncio.Future[list[RefusedRow]]"
    ) -> None:
        self.response.came()
        trouble = future.exception()
        if trouble is not None:
            self._failed(commit, trouble)
            return
        found = future.result()
        if not found:
            log.critical("a commit failed for a reason nobody foresaw", exc_info=error)
            self._die(error)
            return
        try:
            self._after.set_aside(commit, found)
        except Exception as defect:
            log.critical("the owner failed to set rows aside", exc_info=defect)
            self._die(defect)
            return
        if self._phase is Phase.WRITING:
            self._write(commit)

    def _die(self, error: BaseException) -> None:
        """Write nothing more, and tell whoever waits."""
        self._refuse_all(error)
        self._fatal(error)

    def _refuse_all(self, error: BaseException) -> None:
        self._phase, self._over = Phase.OVER, error
        for waiter in [*self._waiters, *(future for _, future in self._jobs)]:
            if not waiter.done():
                waiter.set_exception(error)
        self._jobs.clear()
