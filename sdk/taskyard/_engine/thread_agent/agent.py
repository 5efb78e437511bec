"""Executes task runs in threads of this process, for `ThreadPoolTaskRunner`.

The process serves a queue of its own as a small agent, so the control plane decides and records everything
as for any run; but arguments, code and results never leave the process unless they are recorded. Invariant:
a run's arguments are kept until its future is settled, so it can be executed again for a retry.
"""

import logging
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.futures.future import Future
from taskyard._engine.futures.in_values import futures_in
from taskyard._engine.submission.scope import Arguments, LocalExecutor, Scope
from taskyard._engine.thread_agent.attempts import Kept, ThreadAttempt
from taskyard._network.server.loop_thread import portal
from taskyard._network.session.session import Session
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import template_pb2
from taskyard_contract import capabilities, encodings
from taskyard_contract.agent_link import AgentStream, Identity, LinkSession
from taskyard_contract.agent_link.session import Demand
from taskyard_contract.clock import SystemClock
from taskyard_contract.errors import TaskyardError
from taskyard_contract.id_factory import new_id
from taskyard_contract.ids import format_id, split_ids
from taskyard_contract.states import StateReason

logger = logging.getLogger("taskyard.task_runners")
MOST_THREADS: Final = 1000
"""A thread that waits for other runs does not count as a worker, so there may be many more than workers."""


class ThreadAgent:
    """The runs of one session that this process executes itself. Implements `LinkHandler`."""

    def __init__(self, session: Session, max_workers: int, number: int = 0) -> None:
        """Serve with so many workers; `number` tells several of one session apart."""
        self.session = session
        self.queue = f"session-{session.session_id.hex()}" + (f"-{number}" if number else "")
        self._max_workers = max_workers
        self._kept: dict[bytes, Kept] = {}
        self._lock = threading.Lock()
        self._waiting: deque[ThreadAttempt] = deque()
        self._jobs: dict[bytes, ThreadAttempt] = {}
        self._working = 0
        self._blocked = 0
        self._callers = 0
        self._pool = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="taskyard-run")
        identity = Identity(
            agent_id=self.queue,
            session_id=new_id(),
            name=f"session {format_id(session.session_id)}",
            queues=(self.queue,),
            slots=max_workers,
            # Tasks never leave this process, so they are known here by their names alone.
            capabilities=(capabilities.CODE_BY_NAME, encodings.PICKLE),
        )
        self._link = LinkSession(identity, self)
        portal.run(self._start())

    async def _start(self) -> None:
        import asyncio

        stream = AgentStream(self.session.locate(), self._link, SystemClock())
        self._stream = stream
        self._task = asyncio.get_running_loop().create_task(self._run(stream))

    async def _run(self, stream: AgentStream) -> None:
        try:
            await stream.run()
        except TaskyardError as error:
            logger.error("this process can no longer execute its runs: %s", error)
            self.session.fail(error)

    def close(self) -> None:
        """Stop serving; what still executes is not waited for."""
        portal.run(self._stop())
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _stop(self) -> None:
        await self._stream.settle(1.0)
        self._stream.stop()
        self._task.cancel()

    # For the threads that submit.

    def keep(
        self,
        task: TaskDefinition[..., Any],
        scope: Scope,
        future: Future[Any],
        call: Arguments,
        upstream: dict[bytes, int],
        direct: bool,
    ) -> None:
        """Keep the arguments of a new run; adds the runs they depend on to `upstream`."""
        for awaited, kind in futures_in(call).items():
            upstream[awaited.run_id] = kind
        self._kept[future.run_id] = Kept(task, scope, future, call, direct)
        future.when_settled(lambda: self._forget(future.run_id))

    def _forget(self, run_id: bytes) -> None:
        kept = self._kept.pop(run_id, None)
        if kept is not None:
            kept.assigned.put(None)

    def serve(self, future: Future[Any]) -> None:
        """Execute a run that was called directly in the calling thread, until it has ended."""
        kept = self._kept.get(future.run_id)
        if kept is None:
            return
        self._change_callers(1)
        try:
            while (job := kept.assigned.get()) is not None:
                job.execute()
        finally:
            self._change_callers(-1)

    def _change_callers(self, by: int) -> None:
        with self._lock:
            self._callers += by
        self._wake()

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """Let another run have this thread's place meanwhile: it may be the one waited for."""
        self._change_blocked(1)
        try:
            yield
        finally:
            self._change_blocked(-1)

    def _change_blocked(self, by: int) -> None:
        with self._lock:
            self._blocked += by
        self._start_waiting()
        self._wake()

    def _wake(self) -> None:
        """Let the link look at the demand again."""
        portal.loop().call_soon_threadsafe(self._link.wake)

    # For the threads that execute.

    def _start_waiting(self) -> None:
        """Give waiting runs to threads, as many as there are free workers."""
        while True:
            with self._lock:
                if not self._waiting or self._working - self._blocked >= self._max_workers:
                    return
                job = self._waiting.popleft()
                self._working += 1
            self._pool.submit(self._work, job)

    def _work(self, job: ThreadAttempt) -> None:
        try:
            job.execute()
        finally:
            with self._lock:
                self._working -= 1
            self._start_waiting()

    def ended(self, job: ThreadAttempt, columns: pb.ReportColumns | None) -> None:
        """Report a job that ended; None confirms its cancellation."""
        portal.loop().call_soon_threadsafe(self._report, job, columns)

    def _report(self, job: ThreadAttempt, columns: pb.ReportColumns | None) -> None:
        if self._jobs.get(job.key.run_id) is job:
            del self._jobs[job.key.run_id]
        if job.dropped:
            self._link.wake()
        elif columns is None:
            self._link.cancelled(job.key)
        else:
            self._link.report(job.key.epoch, job.key.run_id, columns.SerializeToString())

    # For the link, on the portal's loop.

    def on_welcome(self, welcome: pb.AgentWelcome) -> None:
        """Nothing to adopt: the session knows the same limits."""

    def on_assign(self, chunk: pb.AssignChunk, template: template_pb2.TemplateDefinition) -> None:
        """Start runs, or hand them to the threads that called them."""
        body = pb.ChunkBody.FromString(chunk.body)
        extras = {extra.position: extra for extra in body.extras}
        for position, run_id in enumerate(split_ids(chunk.run_ids)):
            key = pb.RunKey(run_id=run_id, epoch=chunk.first_epoch + position)
            kept = self._kept.get(run_id)
            if kept is None:
                self._link.lost(key, StateReason.CODE_UNAVAILABLE, "the process that made the run is gone")
                continue
            job = ThreadAttempt(
                self, kept, key, template.template, body, body.ordinals[position], extras.get(position)
            )
            self._jobs[run_id] = job
            if kept.direct:
                kept.assigned.put(job)
            else:
                (self._waiting.appendleft if chunk.nested else self._waiting.append)(job)
        self._start_waiting()

    def on_cancel(self, keys: Sequence[pb.RunKey]) -> None:
        """End runs: at once what has not started, the others at their next bytecode."""
        for key in keys:
            job = self._jobs.get(key.run_id)
            if job is None or job.key.epoch != key.epoch:
                continue
            try:
                with self._lock:
                    self._waiting.remove(job)
            except ValueError:
                job.cancel()
            else:
                self._report(job, None)

    def on_drop(self, keys: Sequence[pb.RunKey]) -> None:
        """Forget runs that are somebody else's now; their threads are not stopped."""
        for key in keys:
            job = self._jobs.get(key.run_id)
            if job is None:
                continue
            job.dropped = True
            with self._lock:
                waits = job in self._waiting
                if waits:
                    self._waiting.remove(job)
            if waits:
                self._report(job, None)

    def on_doubt(self, doubtful: bool) -> None:
        """Nothing is held back: nobody else can execute these runs."""

    def on_lease_lost(self) -> None:
        """Forget everything: the control plane assigns it again."""
        self.on_drop([job.key for job in self._jobs.values()])

    def on_drain(self) -> None:
        """Go on: the runs of this process cannot go elsewhere."""

    def held(self) -> Iterable[pb.RunKey]:
        """Name the runs in hand."""
        return [job.key for job in self._jobs.values() if not job.dropped]

    def demand(self) -> Demand:
        """Ask for twice the workers, and for what callers wait for."""
        in_hand = len(self._jobs) - self._blocked
        return Demand(max(0, in_hand), 2 * self._max_workers + self._callers, 1)


@contextmanager
def serve_locally(session: Session, max_workers: int) -> Iterator[LocalExecutor]:
    """Serve runs of a session in this process; the server stays for the next flow until the session ends."""
    with _lock:
        if session not in _serving:
            _serving[session] = {}
            session.on_close.append(lambda: _end(session))
        known = _serving[session]
        served = known.get(max_workers)
        if served is None:
            served = known[max_workers] = ThreadAgent(session, max_workers, len(known))
    yield served


def _end(session: Session) -> None:
    for served in _serving.pop(session, {}).values():
        served.close()


_lock = threading.Lock()
_serving: dict[Session, dict[int, ThreadAgent]] = {}
"""By session and number of workers, until the session ends. Forked processes have sessions of their own."""
