"""The workforce: how many workers there are, what they say, and when they are gone.

As many workers are at work as there are slots, and one more for each whose run waits for other runs, up to a
number that the agent is told: what it waits for must find a process. When such a run goes on there is one too
many, which rests and is woken for the next one that waits, because forking and connecting a new one takes
longer than most waits.

Workers come from the zygote and can go at any moment. Who dies before it is ready is replaced after a delay
that grows, or a machine without memory, or code that breaks the import of every worker, would fork for ever;
who had been ready is replaced at once. When the zygote dies all its workers do, and another one is started.
Two signs tell of a death: the socket closes, and the zygote reports the exit. Only the second one counts,
because tasks can close descriptors that are not theirs; a worker that only did the first is killed soon.

Invariant: a worker leaves `workers` only when its exit is confirmed and everything it had sent was read.
"""

import asyncio
import logging
import signal
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Final, Protocol

from taskyard_agent.holding.admission import MOST_WAITING
from taskyard_agent.holding.worlds import Interpreter
from taskyard_agent.processes.lines import WorkerLines
from taskyard_agent.processes.terminating import describe_exit, signal_group
from taskyard_agent.processes.worker_handle import WorkerHandle
from taskyard_agent.processes.worker_phase import LEFT, WorkerEvent, WorkerPhase
from taskyard_agent.processes.workers import Workers
from taskyard_agent.processes.zygote_client import ZygoteClient
from taskyard_agent.runner import frames

logger = logging.getLogger(__name__)

EXIT_SECONDS: Final = 1.0
"""From the end of a worker's socket to its exit, at most; both come at once unless a task closed it."""
REST_SECONDS: Final = 3.0
"""How long a worker too many is kept for the next run that waits: forking and connecting one takes longer."""
SPAWN_DELAY: Final = 0.1
"""Before the first new attempt to start a worker; it doubles with each one that fails."""
TROUBLE_SECONDS: Final = 10.0
"""For so long programs in an interpreter that did not start are told so, before it is tried again."""
MOST_KEPT: Final = 4
"""For each one at work, so many may rest for programs that have nothing to do at the moment."""
MAX_SPAWN_DELAY: Final = 5.0
"""Rarely enough to cost nothing, often enough for a machine that has recovered."""
_MAX_FAILURES: Final = 10
"""Counted at most: the delay has long reached its bound, and one success is to be enough to forget them."""


class WorkerEvents(Protocol):
    """Whoever gives work to the workforce."""

    def on_frame(self, worker: WorkerHandle, kind: int, body: bytes) -> None:
        """A worker sent a frame, other than that it is ready."""
        ...

    def on_output(self, worker: WorkerHandle) -> None:
        """Something has come through a worker's pipes."""
        ...

    def on_last_output(self, worker: WorkerHandle) -> None:
        """A worker has ended, and its last frame was read."""
        ...

    def on_revoked(self, worker: WorkerHandle, number: int, first: int) -> None:
        """A worker will not start runs of a span from `first` on."""
        ...

    def on_exit(self, worker: WorkerHandle, status: int | None) -> None:
        """A worker's exit is confirmed."""
        ...

    def dispatch(self) -> None:
        """Workers may have become available."""
        ...


class Workforce(Workers):
    """A fixed number of workers at work, and one more for each that waits for other runs."""

    def __init__(
        self,
        size: int,
        start_zygote: Callable[[], ZygoteClient],
        make_lines: Callable[[], WorkerLines] = WorkerLines,
        most_waiting: int = MOST_WAITING,
        start_other: Callable[[Interpreter], ZygoteClient] | None = None,
    ) -> None:
        """Keep some workers.

        Args:
            size: How many are at work when no run waits for others.
            start_zygote: Returns what forks them.
            make_lines: Opens what they are spoken to over.
            most_waiting: How many of those whose run waits for others get a substitute.
            start_other: Returns what forks workers in the interpreter of a program, when that is another.
        """
        super().__init__()
        self.most_waiting = most_waiting
        self._size = size
        self._start_zygote = start_zygote
        self._make_lines = make_lines
        self._start_other = start_other
        self.troubles: dict[Interpreter, str] = {}
        """Why no worker can be started in the interpreters of some programs."""
        self._proven: set[Interpreter | None] = {None}
        self._zygotes: dict[Interpreter | None, ZygoteClient] = {}
        self._loop = asyncio.get_running_loop()
        self._numbers = count(1)
        self._events: WorkerEvents
        self._greeting = b""
        self._failures = 0
        self._too_many = False
        self._retiring: asyncio.TimerHandle | None = None
        self._waiting: asyncio.TimerHandle | None = None
        self._closed = False

    def attach(self, events: WorkerEvents) -> None:
        """Tell `events` what workers say; to be called before the first one is started."""
        self._events = events

    def greet(self, frame: bytes) -> None:
        """Send a frame to every worker, and from now on to each one that comes."""
        self._greeting = frame
        for worker in self.workers.values():
            if worker.phase is not WorkerPhase.STARTING and worker.phase not in LEFT:
                worker.send(frame)

    def dispatch(self) -> None:
        """Have given out what can be: something may have become possible to start."""
        self._events.dispatch()

    def fit(self) -> None:
        """Have as many workers at work as there should be."""
        if self._closed or self._waiting is not None:
            return
        blocked = self.blocked()
        surplus = self.at_work() - self._size - min(blocked, self.most_waiting)
        # The newest first: older ones have more code loaded.
        for worker in reversed(self.workers.values()):
            if surplus > 0 and worker.phase is WorkerPhase.IDLE and not worker.is_lane:
                worker.rest()
                surplus -= 1
        # Those that know a program first: an unused one is for the next.
        for worker in sorted(self._resting() if surplus < 0 else (), key=lambda worker: worker.place is None):
            if surplus < 0:
                worker.apply(WorkerEvent.WAKE)
                surplus += 1
        self._too_many = surplus > 0
        for _ in range(-surplus):
            if self._waiting is None:
                self.spawn()
        if blocked:
            self.prepare()  # after the first substitute, which need not wait for the imports
        if self._retiring is None and self._resting():
            self._retiring = self._loop.call_later(REST_SECONDS, self._retire)

    def prepare(self) -> None:
        """Have workers that are forked from here on know what calling tasks needs."""
        for zygote in self._zygotes.values():
            zygote.prepare()

    def _resting(self) -> list[WorkerHandle]:
        return [worker for worker in self.workers.values() if worker.phase is WorkerPhase.RESTING]

    def _retire(self) -> None:
        """Let workers go that nobody has needed for a while."""
        self._retiring = None
        since = self._loop.time() - REST_SECONDS
        resting = sorted(self._resting(), key=lambda worker: worker.rests_since, reverse=True)
        kept = MOST_KEPT * self._size
        for number, worker in enumerate(resting):
            if worker.rests_since <= since and not (number < kept and self._is_kept(worker, resting)):
                self.retire(worker)
        if resting and not self._closed:
            self._retiring = self._loop.call_later(REST_SECONDS, self._retire)

    def _is_kept(self, worker: WorkerHandle, resting: list[WorkerHandle]) -> bool:
        """Say whether a worker that rests is kept for longer: for its program, or for the next program."""
        if worker.place is None:
            first = next(one for one in resting if one.place is None)
            return worker is first and any(one.world is not None for one in self.workers.values())
        return worker.world is not None

    def retire(self, worker: WorkerHandle) -> None:
        """Let a worker go that has no runs."""
        if worker.phase is WorkerPhase.IDLE:
            worker.rest()
        worker.apply(WorkerEvent.RETIRE)
        worker.close()
        self._loop.call_later(EXIT_SECONDS, self._insist, worker)
        self.fit()

    def exchange(self, idle: WorkerHandle, resting: WorkerHandle) -> None:
        """Have a worker that rests take the place of one that is idle."""
        idle.rest()
        resting.apply(WorkerEvent.WAKE)
        if self._retiring is None:
            self._retiring = self._loop.call_later(REST_SECONDS, self._retire)

    @property
    def may_spawn(self) -> bool:
        """Whether a process can be asked for now: not while a machine that had none is given time."""
        return self._waiting is None and not self._closed

    def spawn(
        self,
        interpreter: Interpreter | None = None,
        spare: bool = False,
        make: Callable[..., WorkerHandle] = WorkerHandle,
    ) -> WorkerHandle | None:
        """Have a worker forked.

        Args:
            interpreter: What its zygote is started by; None for that of the agent.
            spare: Whether it is for later, and not at work.
            make: Makes what the agent has of it.

        Returns:
            It; None when that is not possible now, and is tried again later.
        """
        try:
            zygote = self._zygotes.get(interpreter) or self._begin_zygote(interpreter)
            lines = self._make_lines()
        except OSError as error:  # no memory, too many processes, too many open files, no such interpreter
            logger.error("no worker can be started: %s", error)
            if interpreter is not None and interpreter not in self._zygotes:
                self._give_up(interpreter, f"{error.strerror or error}")
            self._failed()
            return None
        worker = make(next(self._numbers), lines, self._loop, interpreter, spare)
        if not zygote.spawn(worker.number, lines):
            worker.close()
            self._later()
            return None
        self.workers[worker.number] = worker
        worker.listen(self._on_data, self._on_control, self._on_output)
        return worker

    def close_unused(self) -> None:
        """End the zygotes of programs' interpreters that have no workers any more."""
        used = {worker.interpreter for worker in self.workers.values()}
        for interpreter in [one for one in self._zygotes if one is not None and one not in used]:
            self._zygotes.pop(interpreter).close(self._loop)

    def _begin_zygote(self, interpreter: Interpreter | None) -> ZygoteClient:
        if interpreter is None or self._start_other is None:
            zygote = self._start_zygote()
        else:
            zygote = self._start_other(interpreter)
        self._zygotes[interpreter] = zygote
        gone = partial(self._on_zygote_gone, interpreter)
        zygote.listen(self._loop, self._on_spawned, self._on_exited, gone)
        return zygote

    def _give_up(self, interpreter: Interpreter, why: str) -> None:
        """Have the runs of programs with an interpreter told why they cannot be executed."""
        self.troubles[interpreter] = (
            f"no worker can be started in its program's Python, {interpreter.executable} ({why}); is it "
            "there for the agent, too, with this release of Taskyard installed? The agent's log may say more"
        )
        self._loop.call_soon(self._events.dispatch)
        self._loop.call_later(TROUBLE_SECONDS, self.troubles.pop, interpreter, None)

    def _failed(self) -> None:
        """Try again after a delay that grows while workers die before they are ready."""
        self._failures = min(self._failures + 1, _MAX_FAILURES)
        self._later()

    def _later(self) -> None:
        if self._waiting is None and not self._closed:
            delay = min(MAX_SPAWN_DELAY, SPAWN_DELAY * 2.0**self._failures)
            self._waiting = self._loop.call_later(delay, self._again)

    def _again(self) -> None:
        self._waiting = None
        self.fit()
        self._events.dispatch()  # lanes are not counted, but were kept from coming as well

    def _on_spawned(self, number: int, pid: int) -> None:
        worker = self.workers.get(number)
        if worker is not None:
            worker.pid = pid

    def _on_data(self, worker: WorkerHandle) -> None:
        received = worker.receive()
        if received is None:
            worker.deafen()
            # Its exit follows at once, unless the task closed the socket and goes on.
            self._loop.call_later(EXIT_SECONDS, self._insist, worker)
            return
        for kind, body in received:
            self._on_frame(worker, kind, body)
        if self._failures and worker.phase is not WorkerPhase.STARTING:
            self._failures = 0
        if self._too_many and not worker.spans:
            self.fit()
        self._events.dispatch()

    def _on_output(self, worker: WorkerHandle) -> None:
        if not worker.deaf:
            self._on_data(worker)  # what it said before it started another program comes first
        self._events.on_output(worker)

    def _on_frame(self, worker: WorkerHandle, kind: int, body: bytes) -> None:
        if kind != frames.READY:
            self._events.on_frame(worker, kind, body)
            return
        if len(body) != frames.READY_BODY.size or frames.READY_BODY.unpack(body)[1] != frames.LINK_VERSION:
            self._is_of_another_release(worker)
            return
        worker.pid, _, worker.output.mark = frames.READY_BODY.unpack(body)
        self._proven.add(worker.interpreter)
        worker.apply(WorkerEvent.READY)
        if self._greeting:
            worker.send(self._greeting)
        worker.begin()
        if worker.spare:
            worker.spare = False
            worker.rest()
            self.fit()

    def _is_of_another_release(self, worker: WorkerHandle) -> None:
        if worker.interpreter is not None:
            self._give_up(worker.interpreter, "its Taskyard is of another release than the agent's")
        worker.close()

    def _insist(self, worker: WorkerHandle) -> None:
        if worker.number in self.workers:
            signal_group(worker.pid, signal.SIGKILL)

    def _on_control(self, worker: WorkerHandle) -> None:
        for number, first in worker.receive_control():
            self._events.on_revoked(worker, number, first)

    def _on_exited(self, number: int, status: int | None) -> None:
        worker = self.workers.get(number)
        if worker is None:
            return
        before = worker.phase
        if before is not WorkerPhase.RETIRING:  # its sockets are closed
            for kind, body in worker.receive_rest():
                self._on_frame(worker, kind, body)
            self._events.on_last_output(worker)
        if before not in LEFT and not self._closed:
            logger.warning("worker %d: %s", worker.pid, describe_exit(status))
        worker.apply(WorkerEvent.EXITED)
        del self.workers[number]
        self._events.on_exit(worker, status)
        worker.close()
        if before is WorkerPhase.STARTING and not self._closed:
            self._failed()
        self.fit()

    def _on_zygote_gone(self, interpreter: Interpreter | None) -> None:
        zygote = self._zygotes.pop(interpreter, None)
        if self._closed or zygote is None:
            return
        logger.error("the zygote died, and all workers with it; starting another one")
        zygote.close(self._loop)
        if interpreter is not None and interpreter not in self._proven:
            self._give_up(interpreter, "it ended while it started")
        self._failed()
        its = [worker for worker in self.workers.values() if worker.interpreter == interpreter]
        for worker in its:
            worker.deaf = True  # or what one of them had would be given to the next, and be struck with each
        for worker in its:
            self._on_exited(worker.number, None)

    def close(self) -> None:
        """End all workers and their zygote for good; none is reported as gone."""
        self._closed = True
        for timer in (self._waiting, self._retiring):
            if timer is not None:
                timer.cancel()
        for worker in self.workers.values():
            worker.apply(WorkerEvent.EXITED)
            worker.close()
        for zygote in self._zygotes.values():
            zygote.close(self._loop)
