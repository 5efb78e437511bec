"""The workers of a pool: how many there are, what they say, and when they are gone.

Invariant: a worker leaves `workers` only when its exit is confirmed and everything it had sent was read.
"""

import asyncio
import logging
import signal
from collections.abc import Callable
from itertools import count
from typing import Final, Protocol

from taskyard_agent.processes.terminating import describe_exit, signal_group
from taskyard_agent.processes.worker_handle import Worker, WorkerLines
from taskyard_agent.processes.zygote_client import ZygoteClient

logger = logging.getLogger(__name__)

EXIT_SECONDS: Final = 1.0
REST_SECONDS: Final = 3.0
"""How long a worker too many is kept for the next run that waits: forking and connecting one takes longer."""
MAX_SPAWN_DELAY: Final = 5.0


class WorkerEvents(Protocol):
    """Whoever gives work to the crew."""

    def on_frame(self, worker: Worker, kind: int, body: bytes) -> None:
        """A worker sent a frame."""
        ...

    def on_revoked(self, worker: Worker, number: int, first: int) -> None:
        """A worker will not start runs of a piece from `first` on."""
        ...

    def on_exit(self, worker: Worker, status: int | None) -> None:
        """A worker's exit is confirmed."""
        ...

    def dispatch(self) -> None:
        """Workers may have become available."""
        ...


class Crew:
    """A fixed number of workers at work, and one more for each that waits for other runs."""

    def __init__(self, size: int, start_zygote: Callable[[], ZygoteClient]) -> None:
        """Keep `size` workers, forked by what `start_zygote` returns."""
        self.workers: dict[int, Worker] = {}
        self._size = size
        self._start_zygote = start_zygote
        self._zygote: ZygoteClient | None = None
        self._loop = asyncio.get_running_loop()
        self._numbers = count(1)
        self._events: WorkerEvents
        self._failures = 0
        self._too_many = False
        self._retiring: asyncio.TimerHandle | None = None
        self._waiting: asyncio.TimerHandle | None = None
        self._closed = False

    def attach(self, events: WorkerEvents) -> None:
        """Tell `events` what happens."""
        self._events = events

    def blocked(self) -> int:
        """Return how many workers wait for other runs."""
        return sum(worker.blocked and not worker.ending for worker in self.workers.values())

    def fit(self) -> None:
        """Have as many workers at work as there should be."""
        if self._closed or self._waiting is not None:
            return
        staying = [w for w in self.workers.values() if not (w.retiring or w.ending or w.gone)]
        surplus = sum(not worker.resting for worker in staying) - self._size - self.blocked()
        for worker in reversed(staying):
            if surplus > 0 and worker.ready and not (worker.pieces or worker.resting):
                worker.resting, worker.rests_since = True, self._loop.time()
                surplus -= 1
            elif surplus < 0 and worker.resting:
                worker.resting = False
                surplus += 1
        self._too_many = surplus > 0
        for _ in range(-surplus):
            if self._waiting is None:
                self._spawn()
        if self._retiring is None and any(worker.resting for worker in staying):
            self._retiring = self._loop.call_later(REST_SECONDS, self._retire)

    def _retire(self) -> None:
        """Let workers go that nobody has needed for a while."""
        self._retiring = None
        resting = [w for w in self.workers.values() if w.resting and not (w.retiring or w.ending or w.gone)]
        since = self._loop.time() - REST_SECONDS
        for worker in resting:
            if worker.rests_since <= since:
                worker.retiring = True
                worker.close()
        if resting and not self._closed:
            self._retiring = self._loop.call_later(REST_SECONDS, self._retire)

    def _spawn(self) -> None:
        try:
            if self._zygote is None:
                self._zygote = self._start_zygote()
                self._zygote.listen(self._loop, self._on_spawned, self._on_exited, self._on_zygote_gone)
            lines = WorkerLines()
        except OSError as error:  # no memory, too many processes, too many open files
            logger.error("no worker can be started: %s", error)
            self._failures = min(self._failures + 1, 10)
            self._later()
            return
        worker = Worker(next(self._numbers), lines, self._loop)
        if not self._zygote.spawn(worker.number, lines):
            worker.close()
            self._later()
            return
        self.workers[worker.number] = worker
        worker.listen(self._on_data, self._on_control)

    def _later(self) -> None:
        """Try again after a delay that grows while workers die before they are ready."""
        if self._waiting is None and not self._closed:
            delay = min(MAX_SPAWN_DELAY, 0.1 * 2.0**self._failures)
            self._waiting = self._loop.call_later(delay, self._again)

    def _again(self) -> None:
        self._waiting = None
        self.fit()

    def _on_spawned(self, number: int, pid: int) -> None:
        worker = self.workers.get(number)
        if worker is not None:
            worker.pid = pid

    def _on_data(self, worker: Worker) -> None:
        received = worker.receive()
        if received is None:
            worker.deafen()
            # Its exit follows at once, unless the task closed the socket and goes on.
            self._loop.call_later(EXIT_SECONDS, self._insist, worker)
            return
        for kind, body in received:
            self._events.on_frame(worker, kind, body)
        if worker.ready:
            self._failures = 0
        if self._too_many and not worker.pieces:
            self.fit()
        self._events.dispatch()

    def _insist(self, worker: Worker) -> None:
        if worker.number in self.workers:
            signal_group(worker.pid, signal.SIGKILL)

    def _on_control(self, worker: Worker) -> None:
        for number, first in worker.receive_control():
            self._events.on_revoked(worker, number, first)

    def _on_exited(self, number: int, status: int | None) -> None:
        worker = self.workers.get(number)
        if worker is None:
            return
        early = not worker.ready and worker.ending is None and not worker.retiring
        if not worker.retiring:
            self._read_rest(worker)
        if worker.ending is None and not worker.retiring and not self._closed:
            logger.warning("worker %d: %s", worker.pid, describe_exit(status))
        del self.workers[number]
        self._events.on_exit(worker, status)
        worker.close()
        if early and not self._closed:
            self._failures = min(self._failures + 1, 10)
            self._later()
        self.fit()

    def _read_rest(self, worker: Worker) -> None:
        for kind, body in worker.receive_rest():
            self._events.on_frame(worker, kind, body)

    def _on_zygote_gone(self) -> None:
        if self._closed or self._zygote is None:
            return
        logger.error("the zygote died, and all workers with it; starting another one")
        self._zygote.close(self._loop)
        self._zygote = None
        self._failures += 1
        self._later()
        for number in list(self.workers):
            self._on_exited(number, None)

    def close(self) -> None:
        """End all workers."""
        self._closed = True
        for timer in (self._waiting, self._retiring):
            if timer is not None:
                timer.cancel()
        for worker in self.workers.values():
            worker.close()
        if self._zygote is not None:
            self._zygote.close(self._loop)
