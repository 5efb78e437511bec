"""A lane: one process with one event loop, in which many runs of coroutine functions go on together.

All that a lane is given it begins at once: how many that are is the agent's affair. The loop lives as long as
the process, because asynchronous libraries keep connections and locks for their loop. The thread that listens
to the agent cancels runs by way of the loop, says what keeps the loop when the agent asks, and tells the ends
that the loop cannot tell because it is kept.

A run that forks must not go on as two: in the copy the loop executes nothing further, and the process ends
with what the run was just doing. SIGTERM is raised in the code that is executed, or in the loop that waits;
then all runs are cancelled and get a moment to clean up, and nothing is told any more.
Invariant: what is executed here ends as EndedRun, once, or with the process.
"""

import asyncio
import contextvars
import logging
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterable
from contextlib import suppress
from types import FrameType
from typing import Any, Final, NamedTuple, NoReturn, Protocol

from taskyard_agent.runner import frames
from taskyard_agent.runner.lane_board import LaneBoard
from taskyard_agent.runner.lane_link import Asked, EndedRun, LaneLink
from taskyard_agent.runner.lane_look import place_of, words_for
from taskyard_agent.runner.lane_run import LaneRun
from taskyard_agent.runner.link import Link
from taskyard_agent.runner.report_columns import Outcome, Placed
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.assignments.chunk import Chunk
from taskyard_contract.execution import Invocation, TaskCode
from taskyard_contract.values.layout import LaidOut

BEAT_SECONDS: Final = 0.05
"""Between two notes that the loop goes round, while anything is live."""
CLEAN_UP_SECONDS: Final = 0.3
"""For runs that are cancelled because the process ends; the agent waits for little more."""


class LaneEnded(SystemExit):
    """The agent ends this process. A `SystemExit`, because loops let that pass."""


class Opened(NamedTuple):
    """A chunk that has come, ready to be executed."""

    number: int
    start: int
    stop: int
    chunk: Chunk
    code: TaskCode


class Desk(Protocol):
    """The worker that has become a lane: it knows templates, code and the world."""

    def take(self, kind: int, body: bytes) -> None:
        """Take a frame that is no chunk."""
        ...

    def open(self, kind: int, frame: bytes, restore: bool = True) -> Opened:
        """Read a chunk and load its code; with `restore`, put back what runs have changed around them."""
        ...

    def say_changes(self, run: Invocation, link: Link) -> None:
        """Say in the log of a run what has been changed that others will not see."""
        ...


class Lane:
    """The runs of this process, and their loop."""

    def __init__(self, desk: Desk, link: LaneLink, slots: LaneBoard, data: socket.socket) -> None:
        """Execute what comes on `data`."""
        self.loop = asyncio.new_event_loop()
        self.link = link
        self.slots = slots
        self._desk = desk
        self._data = data
        self._reader = frames.FrameReader()
        self._runs: dict[tuple[int, int], LaneRun] = {}
        self._unwanted: set[tuple[int, int]] = set()
        """Runs that were cancelled before they came."""
        self._of_task: dict[asyncio.Task[Any], LaneRun] = {}
        self._empty = contextvars.copy_context()
        self._flushing = self._beating = False
        self._ending = self._cleaning = self._gone = False
        self._defect: Exception | None = None
        self._pid = os.getpid()
        self._thread = threading.get_ident()
        link.asked = Asked(self._cancel_soon, self._look)

    def serve(self, reader: frames.FrameReader, rest: Iterable[tuple[int, bytes]]) -> None:
        """Execute runs until the agent closes the link.

        Args:
            reader: Has what came of the next frame.
            rest: Frames that have come already.

        Raises:
            LaneEnded: The agent ends this process.
        """
        self._reader = reader
        asyncio.set_event_loop(self.loop)
        signal.signal(signal.SIGTERM, self._on_terminate)
        os.register_at_fork(after_in_child=self._on_copied)
        self.loop.add_reader(self._data, self._on_data)
        self._take_all(rest)
        while not self._gone:
            try:
                self.loop.run_forever()
            except LaneEnded:
                self._clean_up()
                raise
            except (SystemExit, KeyboardInterrupt):
                # Of a task that a run has made beside itself: the run may be waiting for it.
                traceback.print_exc()
            except IndexError:
                if os.getpid() == self._pid:
                    raise
            if os.getpid() != self._pid:
                raise LaneEnded(os.EX_OK)
        if self._defect is not None:
            raise self._defect

    # What comes.

    def _on_data(self) -> None:
        try:
            data = self._data.recv(frames.READ_BYTES)
            if data:
                self._take_all(self._reader.feed(data))
                return
        except ConnectionError:
            pass  # the agent is gone, as when nothing comes any more
        except Exception as defect:  # loops only log them; what was given would never end
            self._defect = defect
        self._gone = True
        self.loop.stop()

    def _take_all(self, received: Iterable[tuple[int, bytes]]) -> None:
        for kind, body in received:
            if kind in (frames.CHUNK, frames.CHUNK_IN_FILE):
                self._begin(kind, body)
            else:
                self._desk.take(kind, body)

    def _begin(self, kind: int, body: bytes) -> None:
        (number,) = frames.REVOKE.unpack_from(body)
        if not self.link.begins(number):
            return
        opened = self._desk.open(kind, body, restore=not self._runs)
        self.link.wall_ns = time.time_ns() - time.monotonic_ns()
        for position in range(opened.start, opened.stop):
            run = LaneRun(self, opened.chunk, number, position)
            self._runs[number, position] = run
            run.start(opened.code, self._empty.copy())
            self._of_task[run.task] = run
            if self._unwanted and (number, position) in self._unwanted:
                run.cancel()
        if self._unwanted:  # what is ahead comes later
            self._unwanted = {key for key in self._unwanted if key[0] > number}
        if not self._beating:
            self._beating = True
            self._beat()

    def _beat(self) -> None:
        """Note that the loop goes round, for as long as there is anything that it could be kept from."""
        self.slots.beat(time.monotonic_ns())
        self.link.give_back_slots()
        self._beating = bool(self._runs)
        if self._beating:
            self.loop.call_later(BEAT_SECONDS, self._beat)

    # What becomes of it.

    def in_loop(self) -> bool:
        """Say whether this is the thread of the loop."""
        return threading.get_ident() == self._thread

    def placed(self, run: LaneRun, outcome: Outcome) -> Placed:
        """Store what is too large for a report of a run, before anything can change it."""
        if os.getpid() != self._pid:
            return b"" if isinstance(outcome, LaidOut) else outcome  # a copy tells nobody
        invocation = run.invocation
        return self.link.place(outcome, invocation.template, invocation.run_id, invocation.epoch)

    def ended(self, run: LaneRun, ended: EndedRun) -> None:
        """Take the end of a run; it is told with those of the same turn of the loop."""
        if os.getpid() != self._pid:
            _leave_copy(ended)
        if self._ending and not self._cleaning:
            raise LaneEnded(128 + signal.SIGTERM)  # what was raised in the run has not come through
        del self._runs[run.number, run.position], self._of_task[run.task]
        if self.link.output.loose:
            self.link.output.ended(run.invocation.run_id)
        if not self._runs:
            self._desk.say_changes(run.invocation, self.link)
        self.link.over.append(ended)
        self.changed()

    def changed(self) -> None:
        """Tell the agent what is new, once in a turn of the loop."""
        if not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self.link.has_news and not self._ending:
            with suppress(OSError):  # the agent is gone, which reading says too
                self.link.flush()
            self.link.give_back_slots()

    # What the agent asks; in the thread that listens.

    def _cancel_soon(self, number: int, position: int) -> None:
        self.loop.call_soon_threadsafe(self._cancel, number, position)

    def _cancel(self, number: int, position: int) -> None:
        run = self._runs.get((number, position))
        if run is not None:
            if not run.cancelled:  # or it would be interrupted while it cleans up
                run.cancel()
        elif self.link.is_ahead(number):
            self._unwanted.add((number, position))

    def _look(self) -> None:
        """Say in the log of a run that it keeps the loop, and where. Runs in the thread that listens."""
        task = asyncio.current_task(self.loop)
        frame = sys._current_frames().get(self._thread)
        run = self._of_task.get(task) if task is not None else None
        if task is None or frame is None:
            return  # it imports the code of a task, for example
        run = run or next(iter(list(self._runs.values())), None)
        if run is not None:
            own = run.invocation
            text = words_for(place_of(frame), sure=task in self._of_task)
            at_us = time.time_ns() // 1000
            self.link.log((own.run_id, at_us, logging.WARNING, "taskyard.task_runs", text, own.run_name))
            self.link.flush()

    # How the process ends.

    def _on_terminate(self, signum: int, frame: FrameType | None) -> NoReturn:
        self._ending = True
        raise LaneEnded(128 + signum)

    def _clean_up(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._cleaning = True
        tasks = [run.task for run in self._runs.values() if not run.task.done()]
        for task in tasks:
            task.cancel()
        if tasks and os.getpid() == self._pid:
            with suppress(BaseException):
                self.loop.run_until_complete(asyncio.wait(tasks, timeout=CLEAN_UP_SECONDS))

    def _on_copied(self) -> None:
        """Have a copy execute nothing but what has forked it."""
        if signal.getsignal(signal.SIGTERM) == self._on_terminate:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self.loop.stop()
        ready = getattr(self.loop, "_ready", None)
        if ready is not None:
            ready.clear()  # what the loop finds missing ends it, see `serve`


def _leave_copy(ended: EndedRun) -> NoReturn:
    """End a copy in which the coroutine that has forked it came to its end: nobody else is told of that."""
    code = os.EX_OK
    if isinstance(ended.outcome, pb.ReportException) and ended.outcome.failure.traceback:
        sys.stderr.write(ended.outcome.failure.traceback)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
