"""A program that serves tasks, as an agent of the control plane.

It announces its tasks (`AgentHello.serves`), and is given runs of these alone, from the queues that they say.
It takes as many as it executes at the same time and keeps none in store: what it has no place for, others may
have.

What holds of every agent holds here. Its runs are leased: when the lease is in doubt nothing new begins, when
it lapses what executes is asked to end, because others may have it. When this program is killed, its runs are
given to others after the lease. When it is to leave, it gives back what has not begun, and what does not end
within the grace is asked to end and given to others.

Methods that the link calls run on the loop's thread, and so does everything that touches `_attempts`.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import partial
from itertools import count
from typing import Final

from taskyard._engine.submission.ports import LocalExecutor
from taskyard._engine.task_worker.attempt import Ending, ServedAttempt
from taskyard._engine.task_worker.large_values import SessionValues
from taskyard._engine.task_worker.served import Served
from taskyard._engine.thread_agent.serving import serve_locally
from taskyard._engine.thread_agent.threads import MOST_THREADS, AttemptThreads
from taskyard._network.server.loop_thread import loop_thread
from taskyard._network.session.session import Session
from taskyard._network.session.sessions import current_session
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import session_service_pb2, template_pb2
from taskyard_contract import capabilities, encodings, log_entry
from taskyard_contract.agent_link import AgentStream, Identity, LinkSession
from taskyard_contract.agent_link.handler import Demand
from taskyard_contract.assignments.chunk import Chunk
from taskyard_contract.clock import SystemClock
from taskyard_contract.errors import UnsupportedProtocol
from taskyard_contract.id_factory import new_id
from taskyard_contract.ids import split_ids
from taskyard_contract.log_entry import LogEntry
from taskyard_contract.states import StateReason

logger = logging.getLogger("taskyard.task_worker")
MOST_PLACES: Final = 5_000
"""Runs at the same time at most, whatever the limit."""
MOST_IN_HAND: Final = 8_000
"""With those that wait for others, and gave their places away: a hello names at most 10,000."""
FLUSH_SECONDS: Final = 5.0
"""For the last reports to be acknowledged; a control plane that takes longer will repeat the runs."""
FAREWELL_SECONDS: Final = 0.5
"""For the answer to the farewell."""
END_SECONDS: Final = 2.0
"""What was asked to end has so long to clean up, as in the workers of an agent."""
_REASONS: Final = {Ending.LEASE_LOST: StateReason.AGENT_LOST, Ending.LEFT: StateReason.AGENT_LOST}
_Key = tuple[bytes, int]
_numbers: Final = count(1)
"""Of those that serve in this process: each is an agent of its own."""


class ServingAgent:
    """Executes runs of the tasks that a program serves. Implements `LinkHandler`."""

    def __init__(
        self,
        served: Served,
        limit: int | None,
        loop: asyncio.AbstractEventLoop,
        on_leave: Callable[[], None],
    ) -> None:
        """Be about to serve; `begin` has to follow.

        Args:
            served: The tasks.
            limit: How many runs are executed at the same time; None for as many as there are.
            loop: Executes coroutine functions.
            on_leave: Called, in `loop`, when the server wants this program to leave.
        """
        self.context = copy_context()
        self.values = SessionValues()
        number = next(_numbers)
        self._one_of = f"{os.getpid()}-{number}" if number > 1 else f"{os.getpid()}"
        self.places = _places_of(served, limit)
        self.finished: dict[str, int] = {task.task_key: 0 for task in served.tasks}
        self.failed: asyncio.Future[None] = loop.create_future()
        """Has why it can no longer serve, in the loop of whoever does."""
        self._served = served
        self._loop = loop
        self._on_leave = on_leave
        self._threads = AttemptThreads(self.places, self._wake)
        self._attempts: dict[_Key, ServedAttempt] = {}
        self._held_up: list[ServedAttempt] = []
        """What has not begun, because the lease is in doubt."""
        self._doubtful = False
        self._waiting = 0
        """Coroutines that wait for other runs; of threads those know it."""
        self._empty = asyncio.Event()
        self._link = LinkSession(self._identity(), self)

    def _identity(self) -> Identity:
        session_id = new_id()
        return Identity(
            # Containers may have the name of their machine, and each its own first process.
            agent_id=f"{socket.gethostname()}/task-worker-{self._one_of}-{session_id.hex()}",
            session_id=session_id,
            name=f"task worker {socket.gethostname()}-{self._one_of}",
            queues=self._served.queues,
            slots=self.places,
            capabilities=(*encodings.KNOWN, capabilities.CODE_BY_NAME, capabilities.own_interpreter()),
            tasks=self._served.offers(),
            serves=self._served.names,
        )

    # For whoever serves, on the loop's thread.

    async def begin(self, address: str, on_ready: Callable[[], None]) -> None:
        """Connect, and go on until `leave`."""
        self.values.serve()
        self._stream = AgentStream(address, self._link, SystemClock(), on_ready=on_ready)
        self._running = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            await self._stream.run()
        except Exception as error:  # whatever it is: nobody else would hear of it
            self._loop.call_soon_threadsafe(self._fail, error)

    def _fail(self, error: Exception) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    async def leave(self, grace: float) -> None:
        """Take nothing more, wait for what executes for `grace` seconds, give the rest to others, and go."""
        self.on_drain()
        self._look_whether_empty()
        if not await self._emptied(grace):
            self._stop_all()
            await self._emptied(END_SECONDS)
        if not await self._stream.settle(FLUSH_SECONDS):
            logger.warning("the last reports were not acknowledged; their runs will be repeated")
        self._stream.stop()
        await asyncio.wait([self._running], timeout=FAREWELL_SECONDS)
        self._running.cancel()

    def hurry(self) -> None:
        """Have everything end that executes: nobody waits any longer. From the loop of whoever serves."""
        loop_thread.let_know(self._stop_all)

    def _stop_all(self) -> None:
        for attempt in self._attempts.values():
            attempt.stop(Ending.LEFT)

    def close(self) -> None:
        """Let the threads go; from any thread."""
        self._threads.close()

    async def _emptied(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), seconds)
        return self._empty.is_set()

    def _look_whether_empty(self) -> None:
        if self._link.draining and not self._attempts:
            self._empty.set()

    # For whoever looks on.

    def executing(self) -> list[ServedAttempt]:
        """Return what is in hand; from any thread."""
        return list(self._attempts.values())

    # For attempts, from any thread.

    def log(self, entry: LogEntry) -> None:
        """Send a log record."""
        batch = session_service_pb2.LogBatch()
        log_entry.add_to(batch, entry)
        loop_thread.let_know(partial(self._link.log, batch))

    def progress(self, progress: pb.RunProgress) -> None:
        """Tell how far a run is."""
        loop_thread.let_know(partial(self._link.progress, progress))

    def begun(self, attempt: ServedAttempt) -> None:
        """Tell that an attempt has begun."""
        loop_thread.let_know(partial(self._link.started, attempt.key, 0.0))

    @contextmanager
    def waiting(self, attempt: ServedAttempt) -> Iterator[None]:
        """Give the place of an attempt away: what it waits for, or others, may need it."""
        if not attempt.in_loop:
            with self._threads.blocked():
                yield
            return
        loop_thread.let_know(partial(self._count_waiting, 1))
        try:
            yield
        finally:
            loop_thread.let_know(partial(self._count_waiting, -1))

    def _count_waiting(self, by: int) -> None:
        self._waiting += by
        self._link.wake()

    def nested(self) -> tuple[Session, LocalExecutor]:
        """Return what executes calls that served tasks make: other threads of this program."""
        session = current_session()
        with serve_locally(session, min(self.places, MOST_THREADS), 0) as executor:
            return session, executor

    def _wake(self) -> None:
        loop_thread.let_know(self._link.wake)

    def ended(
        self, attempt: ServedAttempt, columns: pb.ReportColumns, ending: Ending | None, why: str = ""
    ) -> None:
        """Take the end of an attempt: its report, unless it has another `ending`."""
        loop_thread.let_know(partial(self._end, attempt, columns, ending, why))

    # On the loop's thread.

    def _end(
        self, attempt: ServedAttempt, columns: pb.ReportColumns, ending: Ending | None, why: str
    ) -> None:
        key = attempt.key
        if self._attempts.pop((key.run_id, key.epoch), None) is None:
            return
        self.finished[attempt.code.task.task_key] = self.finished.get(attempt.code.task.task_key, 0) + 1
        if ending is None:
            self._link.report(key.epoch, key.run_id, columns.SerializeToString())
        elif ending is Ending.CANCELLED:
            self._link.cancelled(key)
        elif ending is Ending.DROPPED:
            self._link.wake()
        else:
            reason = _REASONS.get(ending, StateReason.WORKER_DIED)
            self._link.lost(key, reason, f"{ending.value}: {why}" if why else ending.value)
        self._look_whether_empty()

    def on_welcome(self, welcome: pb.AgentWelcome) -> None:
        """Take over the server's limits, and say anew what has begun."""
        if capabilities.SERVED_TASKS not in welcome.capabilities:
            self._loop.call_soon_threadsafe(self._fail, _too_old(welcome.server_version))
        for attempt in self._attempts.values():
            if attempt.began:
                self._link.started(attempt.key, max(0.0, time.time() - attempt.began))
        self.values.max_inline, self.values.max_payload = welcome.max_inline_bytes, welcome.max_payload_bytes

    def on_assign(self, chunk: pb.AssignChunk, template: template_pb2.TemplateDefinition) -> None:
        """Begin runs, or give them back: this program may be about to leave."""
        code = self._served.code_of(template.template)
        for position, run_id in enumerate(split_ids(chunk.run_ids)):
            key = pb.RunKey(run_id=run_id, epoch=chunk.first_epoch + position)
            if code is None:
                what = f"this program does not serve '{template.template.name}'"
                self._link.lost(key, StateReason.CODE_UNAVAILABLE, what)
            elif self._link.draining:
                self._link.give_back([key])
            else:
                opening = partial(_opened, chunk, template.template, self.values)
                attempt = ServedAttempt(self, code, key, position, opening)
                self._attempts[run_id, key.epoch] = attempt
                self._begin(attempt)

    def _begin(self, attempt: ServedAttempt) -> None:
        if self._doubtful:
            self._held_up.append(attempt)
        elif attempt.in_loop:
            self._loop.call_soon_threadsafe(attempt.start_in, self._loop)
        else:
            self._threads.add(attempt, first=False)
            self._threads.start()

    def _take_back(self, attempt: ServedAttempt) -> bool:
        """Take back an attempt that has not begun; says whether it had not."""
        if attempt in self._held_up:
            self._held_up.remove(attempt)
        elif attempt.in_loop or not self._threads.take_back(attempt):
            return False
        del self._attempts[attempt.key.run_id, attempt.key.epoch]
        return True

    def on_cancel(self, keys: Sequence[pb.RunKey]) -> None:
        """End runs: at once what has not begun, the others as soon as they can be asked."""
        for attempt in self._of(keys):
            if self._take_back(attempt):
                self._link.cancelled(attempt.key)
            else:
                attempt.stop(Ending.CANCELLED)

    def on_drop(self, keys: Sequence[pb.RunKey]) -> None:
        """Ask runs to end that are somebody else's now."""
        for attempt in self._of(keys):
            if not self._take_back(attempt):
                attempt.stop(Ending.DROPPED)

    def _of(self, keys: Sequence[pb.RunKey]) -> list[ServedAttempt]:
        found = [self._attempts.get((key.run_id, key.epoch)) for key in keys]
        return [attempt for attempt in found if attempt is not None]

    def on_worlds_ended(self, world_ids: Sequence[bytes]) -> None:
        """Do nothing: the only program here is this one."""

    def on_doubt(self, doubtful: bool) -> None:
        """Begin nothing while the lease may be about to lapse."""
        self._doubtful = doubtful
        if not doubtful:
            held_up, self._held_up = self._held_up, []
            for attempt in held_up:
                self._begin(attempt)

    def on_lease_lost(self) -> None:
        """Ask to end what executes: others may have it by now."""
        logger.warning("the lease lapsed; ending what executes of %d runs", len(self._attempts))
        for attempt in self._attempts.values():
            if attempt.began or (attempt.in_loop and attempt not in self._held_up):
                attempt.stop(Ending.LEASE_LOST)

    def on_drain(self) -> None:
        """Give back what has not begun, take nothing more, and have whoever serves leave."""
        self._link.drain()
        back = [attempt for attempt in list(self._attempts.values()) if self._take_back(attempt)]
        self._link.give_back([attempt.key for attempt in back])
        self._loop.call_soon_threadsafe(self._on_leave)

    def held(self) -> Iterable[pb.RunKey]:
        """Name the runs in hand; what is dropped ends in silence."""
        return [each.key for each in self._attempts.values() if each.ending is not Ending.DROPPED]

    def demand(self) -> Demand:
        """Ask for as many runs as there are places free."""
        in_hand = max(0, len(self._attempts) - self._waiting - self._threads.blocked_now)
        room = max(0, MOST_IN_HAND - len(self._attempts))
        return Demand(in_hand, min(self.places, in_hand + room), 1)


def _places_of(served: Served, limit: int | None) -> int:
    """Return how many runs may execute at the same time: what would have no thread is left to others."""
    most = MOST_PLACES if all(task.isasync for task in served.tasks) else MOST_THREADS
    return min(limit or most, most)


def _too_old(version: str) -> UnsupportedProtocol:
    return UnsupportedProtocol(
        f"the control plane, release {version or 'unknown'}, gives no runs to programs that serve tasks; "
        "upgrade it, or have agents execute them: taskyard agent start --queue NAME"
    )


def _opened(chunk: pb.AssignChunk, template: template_pb2.RunTemplate, values: SessionValues) -> Chunk:
    """Open the columns of a chunk, which may have to be fetched."""
    if chunk.HasField("body_blob"):
        return Chunk.of_file(chunk.first_epoch, chunk.run_ids, template, chunk.body_blob, values)
    body = pb.ChunkBody.FromString(chunk.body)
    return Chunk(chunk.first_epoch, chunk.run_ids, template, body, values)
