"""One run in a lane: a coroutine in a context of its own, with its limits; also the worker host of its code.

Its time is up by a timer of the loop, which cancels it: the code may clean up as far as it waits for nothing
for long. Code that does not let the loop go round, or swallows its cancellation, is ended by the agent, with
the process. Invariant: a run whose limit has passed ends as timed out, whatever its code makes of that.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from typing import Any, Final, Protocol

from taskyard_agent.runner.lane_board import AWAITS, LaneBoard
from taskyard_agent.runner.lane_link import EndedRun, LaneLink
from taskyard_agent.runner.output import printed
from taskyard_agent.runner.report_columns import Outcome, Placed, raised
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.assignments.chunk import Chunk
from taskyard_contract.execution import Invocation, TaskCode, expired_silent, expired_timeout
from taskyard_contract.log_entry import LogEntry
from taskyard_contract.states import StateReason

Clock = Callable[[], int]


_current: Final[ContextVar["LaneRun | None"]] = ContextVar("taskyard_lane_run", default=None)
current_run = _current.get
"""Returns the run of a lane that the current code belongs to, with what it has started beside itself."""


class LaneOfRun(Protocol):
    """What a run needs of its lane."""

    loop: asyncio.AbstractEventLoop
    link: LaneLink
    slots: LaneBoard

    def in_loop(self) -> bool:
        """Say whether this is the thread of the loop."""
        ...

    def placed(self, run: "LaneRun", outcome: Outcome) -> Placed:
        """Store what is too large for a report of a run."""
        ...

    def ended(self, run: "LaneRun", ended: EndedRun) -> None:
        """Take the end of a run."""
        ...

    def changed(self) -> None:
        """Have the agent told how many runs wait for others."""
        ...


class LaneRun:
    """A live run."""

    def __init__(
        self, lane: LaneOfRun, chunk: Chunk, number: int, position: int, clock: Clock = time.monotonic_ns
    ) -> None:
        """Be the run at a position of a chunk; `start` has to follow."""
        self.number = number
        self.position = position
        self.invocation = chunk.invocation(position)
        self.expired = ""
        """Which limit of its time has passed, for people."""
        self.cancelled = False
        """Whether the agent has it ended."""
        self.task: asyncio.Task[None]
        self._lane = lane
        self._chunk = chunk
        self._clock = clock
        self._over = False
        self._awaits = 0
        self._timers: list[asyncio.TimerHandle] = []
        self._began = self._heard = clock()
        self._slot = lane.slots.take(number, position, self._began)

    def start(self, code: TaskCode, context: Context) -> None:
        """Begin it, with the next turn of the loop."""
        loop, template = self._lane.loop, self._chunk.template
        context.run(_current.set, self)
        context.run(printed.current_run.set, self.invocation.run_id)
        self.task = loop.create_task(self._execute(code), context=context)
        self.task.add_done_callback(self._never_began)
        if template.timeout_ms:
            self._timers.append(loop.call_later(template.timeout_ms / 1000, self._time_is_up))
        if template.heartbeat_timeout_ms:
            self._timers.append(loop.call_later(template.heartbeat_timeout_ms / 1000, self._look_for_words))

    async def _execute(self, code: TaskCode) -> None:
        outcome: Outcome | None
        self._lane.slots.heard(self._slot, self._clock())
        try:
            outcome = None if self._chunk.plain else self._chunk.complete(self.invocation, self.position)
            if outcome is None:
                outcome = await _executed(code, self.invocation, self)
        except BaseException as error:
            outcome = raised(error, self._chunk.template.encoding)
        self._end(outcome)

    def _never_began(self, task: "asyncio.Task[None]") -> None:
        """End a run that was cancelled before it could begin."""
        if not self._over:
            self._end(raised(asyncio.CancelledError(), ""))

    def _end(self, outcome: Outcome) -> None:
        self._over = True
        if self._awaits:  # a thread waits, which it leaves behind
            self._lane.link.awaits(-1)
        if self.expired and not _says_expired(outcome):
            outcome = _timed_out(self.expired)
        for timer in self._timers:
            timer.cancel()
        ended = EndedRun(
            self.number,
            self.position,
            self._chunk.template,
            self._slot,
            None if self.cancelled else self._lane.placed(self, outcome),
            self._began,
            self._clock(),
        )
        self._lane.ended(self, ended)

    def cancel(self) -> None:
        """End it because the agent wants it."""
        self.cancelled = True
        self.task.cancel()

    def _time_is_up(self) -> None:
        self._expire(expired_timeout(self._chunk.template.timeout_ms / 1000))

    def _look_for_words(self) -> None:
        limit = self._chunk.template.heartbeat_timeout_ms / 1000
        left = limit if self._awaits else limit - (self._clock() - self._heard) / 1e9
        if left > 0:
            self._timers[-1] = self._lane.loop.call_later(left, self._look_for_words)
        else:
            self._expire(expired_silent(limit))

    def _expire(self, why: str) -> None:
        if not (self.task.done() or self.expired or self.cancelled):
            self.expired = why
            self.task.cancel()

    # What a host offers.

    def log(self, entry: LogEntry) -> None:
        """Send a log record of the run."""
        self._lane.link.log(entry)

    def heartbeat(self, progress: pb.RunProgress) -> None:
        """Say that the run goes on, and how far it is."""
        self._hear()
        self._lane.link.heartbeat(progress)

    def _hear(self) -> None:
        if self._over:
            return  # a thread that it has left behind: the slot may be another run's by now
        self._heard = self._clock()
        self._lane.slots.heard(self._slot, AWAITS if self._awaits else self._heard)

    @contextmanager
    def awaiting(self) -> Iterator[None]:
        """Say that the run waits for others and lets the loop go round: one more may have its place."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, by: int) -> None:
        if self._over:
            return
        self._awaits += by
        if self._awaits == (1 if by > 0 else 0):
            self._hear()
            self._lane.link.awaits(by)
            self._lane.changed()

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """Say that code waits for other runs; in the thread of the loop that keeps all runs here."""
        if not self._lane.in_loop():
            self._lane.loop.call_soon_threadsafe(self._count, 1)
            try:
                yield
            finally:
                self._lane.loop.call_soon_threadsafe(self._count, -1)
            return
        self._lane.link.blocks(True, self.number, self.position)
        try:
            yield
        finally:
            self._hear()  # to wait for others was no silence
            self._lane.link.blocks(False, self.number, self.position)


async def _executed(code: TaskCode, invocation: Invocation, host: Any) -> Outcome:
    execute = getattr(code, "execute_async", None)
    if execute is None:  # no coroutine function after all: it must not keep the loop
        return await asyncio.to_thread(code.execute, invocation, host)
    outcome: Outcome = await execute(invocation, host)
    return outcome


def _says_expired(outcome: Outcome) -> bool:
    return isinstance(outcome, pb.ReportException) and int(outcome.reason) == StateReason.TIMED_OUT


def _timed_out(why: str) -> pb.ReportException:
    report = raised(TimeoutError(why), "")
    report.reason = StateReason.TIMED_OUT.value  # type: ignore[assignment]  # the enums are numerically equal
    return report
