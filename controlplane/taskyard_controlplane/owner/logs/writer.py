"""Appends what runs log to the log store: at once when idle, gathered while an append is under way.

Theory of operation. As with commits there is one open batch, and at most one use of the log store under way.
Batches are numbered and written in order, by a thread of their own, or on the loop's where a few records are
appended in less time than two switches of threads take. Commits go on beside it. Where the two meet, others
wait for a batch by its number: a commit in which a run ends that has records in it, so that whoever sees the
end finds them (`Committer`), and all who acknowledge records to a peer.

Nothing waits for ever, and no run fails: what the log store does not take within `PATIENCE_SECONDS` is given
up and counted, and for a while everything that comes is; the log of each run concerned says how much that was
(`on_lost`), by way of the database. From then on the log store is tried again once in a while.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Final

from taskyard_contract.clock import Clock
from taskyard_contract.errors import NotOwner, StorageFull, StorageUnavailable
from taskyard_controlplane.owner.logs.limits import KEPT, LEFT_OUT, LogCounts, LogLimits
from taskyard_controlplane.owner.logs.numbers import LogNumbers
from taskyard_controlplane.owner.metrics import Metrics
from taskyard_controlplane.storage.interface import LogDay, LogStore, LogTuple

log = logging.getLogger(__name__)

FEW_ROWS: Final = 1_024
FEW_BYTES: Final = 256 * 1024
"""An append of so little is done on the loop's own thread."""
PATIENCE_SECONDS: Final = 5.0
"""How long a log store may not answer before records are given up: a restart of a database, a backup."""
HUNG_SECONDS: Final = 2 * PATIENCE_SECONDS
"""How long anybody waits for a log store that does not even fail."""
RETRY_SECONDS: Final = 0.25
UPKEEP_SECONDS: Final = 60.0
"""How often the log store is looked after when nothing is written: a day may have ended."""
PAUSE_SECONDS: Final = 1.0
"""After records were given up: so long nothing is tried, and what was lost is not told again."""
MOST_TOLD: Final = 1_000
"""Runs whose logs say at a time that records are lost."""
HIGHEST_NUMBER: Final = (1 << 63) - 1
"""What a database takes. No peer counts so far; one that says it does may send what it had sent once more."""
LOGGER: Final = "taskyard"
"""Who says in a run's log that the rest is left out."""


class LogBatch:
    """Records that are appended together."""

    __slots__ = ("marks", "number", "rows", "runs", "size", "then")

    def __init__(self, number: int) -> None:
        self.number = number
        self.rows: list[LogTuple] = []
        self.marks: dict[bytes, int] = {}
        """Up to which number each session's records are in it."""
        self.runs: set[int] = set()
        """The runs whose logs it concerns, with the flow runs they are in."""
        self.size = 0
        self.then: list[Callable[[], None]] = []
        """What waits for it."""

    def __bool__(self) -> bool:
        """Return whether there is anything in it."""
        return bool(self.rows or self.marks)


class LogWriter:
    """Owns the log store and the thread that uses it."""

    def __init__(
        self,
        store: LogStore,
        clock: Clock,
        metrics: Metrics,
        limits: LogLimits,
        writer: Executor | None = None,
    ) -> None:
        """Append to `store`, at most `limits` of each run; `writer` stands for the thread in tests."""
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._owns_writer = writer is None
        self._beside = writer  # of threads that remove days, if somebody decides about all threads
        self._writer = writer or ThreadPoolExecutor(1, thread_name_prefix="taskyard-logs")
        self.numbers = LogNumbers(clock)
        self.counts = LogCounts(limits)
        self.written = 0
        """Number of the last batch that is stored, or given up; nothing waits for it any more."""
        self.on_written: Callable[[set[int]], None] = lambda runs: None
        """Told which runs' logs have changed."""
        self.on_lost: Callable[[int, int | None, int], None] = lambda run_seq, flow_seq, count: None
        """Told how many records a run has lost, and in which flow run it is."""
        self._open = LogBatch(1)
        self._under_way: LogBatch | None = None
        self._scheduled = self._busy = self._closed = False
        self._jobs: list[Callable[[], None]] = []
        self._failing_since: float | None = None
        self._next_try = 0.0
        self._kept_up, self._kept_up_at = 0, clock.monotonic()
        self._lost: dict[int, tuple[int | None, int]] = {}
        self._telling = False

    # What others say.

    def record(
        self, run_seq: int, flow_seq: int | None, at_us: int, level: int, logger: str, message: str
    ) -> None:
        """Keep a record of a run, unless it has logged too much."""
        size = len(message) + len(logger)
        verdict = self.counts.take(run_seq, size)
        if verdict is not KEPT:
            self._metrics.dropped_logs += 1
            if verdict is LEFT_OUT:
                return
            level, logger, message = logging.WARNING, LOGGER, self.counts.limits.reached()
        batch = self._open
        rows = batch.rows
        rows.append((run_seq, flow_seq, at_us, level, logger, message, self.numbers.next()))
        batch.size += size
        if len(rows) == 1:
            self._touch()
        elif rows[-2][0] == run_seq:
            return  # mostly: what a run logs comes together
        batch.runs.add(run_seq)
        if flow_seq is not None:
            batch.runs.add(flow_seq)

    def came(self, session_id: bytes, number: int) -> None:
        """Note that the records of a session have come up to a number."""
        self._open.marks[session_id] = min(number, HIGHEST_NUMBER)
        self._touch()

    def forget(self, runs: Iterable[int]) -> None:
        """Count no more what some runs log: they have ended."""
        for run_seq in runs:
            self.counts.forget(run_seq)

    # What others wait for.

    @property
    def latest(self) -> int:
        """Number of the last batch that has something in it."""
        return self._open.number - (not self._open)

    def when_written(self, number: int, action: Callable[[], None]) -> None:
        """Do something when a batch is stored, or given up; at once if it is."""
        if number <= self.written:
            action()
        elif self._under_way is not None and number == self._under_way.number:
            self._under_way.then.append(action)
        else:
            self._open.then.append(action)

    def when_settled(self, number: int, action: Callable[[], None]) -> None:
        """Do something, once, when a batch is stored or given up, or has taken too long even for that: it is
        on a thread that hangs.
        """
        late: list[asyncio.TimerHandle] = []

        def act() -> None:
            if late:
                late.pop().cancel()
                action()

        late.append(self._loop.call_later(HUNG_SECONDS, act))
        self.when_written(number, act)

    async def settled(self) -> None:
        """Return when everything that has come until now is stored, or given up."""
        if self.latest > self.written:
            done: asyncio.Future[None] = self._loop.create_future()
            self.when_written(self.latest, lambda: None if done.done() else done.set_result(None))
            await done

    def holds(self, run_seq: int) -> bool:
        """Whether records that concern the log of a run are on their way."""
        under_way = self._under_way
        return run_seq in self._open.runs or (under_way is not None and run_seq in under_way.runs)

    def stored_up_to(self, run_seq: int) -> int:
        """Return up to which number everything is stored that concerns the log of a run."""
        for batch in (self._under_way, self._open):
            if batch is not None and run_seq in batch.runs:
                return batch.rows[0][-1] - 1
        return self.numbers.last

    # Upkeep.

    def maintain(self) -> None:
        """Have the log store do its upkeep, if anything was written, or once in a while."""
        now = self._clock.monotonic()
        if self._closed or (self.written == self._kept_up and now - self._kept_up_at < UPKEEP_SECONDS):
            return
        self._kept_up, self._kept_up_at = self.written, now
        self._run(lambda: self._store.maintain(self._clock.now_us()), _ignore)

    async def remove_before(self, time_us: int) -> list[LogDay]:
        """Remove all days that ended before some time, beside whatever is appended; returns which went.

        Raises:
            TaskyardError: The log store does not answer; days may have gone.
        """
        return await self._loop.run_in_executor(self._beside, self._store.remove_before, time_us)

    async def usage(self) -> list[LogDay]:
        """Return how much is stored of which days, oldest first.

        Raises:
            TaskyardError: The log store does not answer.
        """
        return await self._loop.run_in_executor(self._beside, self._store.usage)

    def abandon(self) -> None:
        """Do nothing more, as if this process had been killed."""
        self._closed = True

    async def close(self) -> None:
        """Write what has come, and give the log store up."""
        await self.settled()
        self._closed = True
        done: asyncio.Future[None] = self._loop.create_future()
        self._run(self._store.close, lambda result: done.set_result(None))
        await done
        if self._owns_writer:
            self._writer.shutdown(wait=True)

    # The round.

    def _touch(self) -> None:
        if not self._scheduled and self._under_way is None and not self._busy:
            self._scheduled = True
            self._loop.call_soon(self._start)

    def _start(self) -> None:
        self._scheduled = False
        if self._under_way is None and not self._busy and self._open and not self._closed:
            batch, self._open = self._open, LogBatch(self._open.number + 1)
            self._under_way = batch
            if self._clock.monotonic() < self._next_try:
                self._lose(batch)
            else:
                self._write(batch)

    def _write(self, batch: LogBatch) -> None:
        store, now_us = self._store, self._clock.now_us()
        small = len(batch.rows) <= FEW_ROWS and batch.size <= FEW_BYTES
        # One that fails may wait for somebody else before it does, and the loop must not.
        if small and store.appends_are_fast and not store.upkeep_due and self._failing_since is None:
            try:
                store.append(batch.rows, batch.marks, now_us)
            except Exception as error:
                self._failed(batch, error)
            else:
                self._stored(batch)
            return

        def finished(done: "asyncio.Future[None]") -> None:
            error = done.exception()
            if error is None:
                self._stored(batch)
            else:
                self._failed(batch, error)

        self._run(lambda: store.append(batch.rows, batch.marks, now_us), finished)

    def _run(self, job: Callable[[], None], finished: "Callable[[asyncio.Future[None]], None]") -> None:
        """Use the log store on its thread; one use at a time, in turn."""
        if self._busy:
            self._jobs.append(lambda: self._run(job, finished))
            return
        self._busy = True

        def free(done: "asyncio.Future[None]") -> None:
            self._busy = False
            finished(done)
            if self._jobs and not self._busy:
                self._jobs.pop(0)()
            if self._open:
                self._touch()

        self._loop.run_in_executor(self._writer, job).add_done_callback(free)

    def _stored(self, batch: LogBatch) -> None:
        if self._failing_since is not None:
            log.warning("the log store takes records again", extra={"event": "logs_recovered"})
            self._failing_since = None
        self._finish(batch)

    def _finish(self, batch: LogBatch) -> None:
        self.written, self._under_way = batch.number, None
        self.on_written(batch.runs)
        for action in batch.then:
            action()
        if self._store.upkeep_due and not self._busy:
            self.maintain()
        if self._open:
            self._touch()

    # Trouble.

    def _failed(self, batch: LogBatch, error: BaseException) -> None:
        now = self._clock.monotonic()
        if self._failing_since is None:
            self._failing_since = now
            if not isinstance(error, NotOwner):  # or the committer finds out
                foreseen = isinstance(error, (StorageFull, StorageUnavailable))
                log.error(
                    "the log store takes no records, runs go on without: %s", error,
                    exc_info=None if foreseen else error, extra={"event": "logs_failed"},
                )  # fmt: skip
        patient = isinstance(error, StorageUnavailable) and now - self._failing_since < PATIENCE_SECONDS
        if patient and not self._closed:
            self._loop.call_later(RETRY_SECONDS, self._write, batch)
        else:
            self._next_try = now + PAUSE_SECONDS
            self._lose(batch)

    def _lose(self, batch: LogBatch) -> None:
        """Give up records, and count them."""
        self._metrics.dropped_logs += len(batch.rows)
        lost = self._lost
        for run_seq, flow_seq, *_ in batch.rows:
            count = lost[run_seq][1] if run_seq in lost else 0
            if count or len(lost) < MOST_TOLD:
                lost[run_seq] = flow_seq, count + 1
        if not self._telling:
            self._tell_lost()
        self._finish(batch)

    def _tell_lost(self) -> None:
        """Tell what was lost, and not again for a while."""
        lost, self._lost = self._lost, {}
        self._telling = bool(lost)
        for run_seq, (flow_seq, count) in lost.items():
            self.on_lost(run_seq, flow_seq, count)
        if lost:
            self._loop.call_later(PAUSE_SECONDS, self._tell_lost)


def _ignore(done: "asyncio.Future[Any]") -> None:
    error = done.exception()
    if error is not None and not isinstance(error, NotOwner):
        log.warning("the upkeep of the log store failed, it will be repeated: %s", error)
