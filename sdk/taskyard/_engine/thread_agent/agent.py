"""The threads of this process as an agent, for `ThreadPoolTaskRunner`.

A session serves a queue of its own over the same protocol as every agent, so the control plane decides and
records everything as for any run: dependencies, retries, caching, timeouts of leases, cancellation. Only
what an agent would be sent stays here: arguments, code and results never leave the process unless they are
recorded.

The way of a run. The submitting thread keeps the call (`keep`) before the run exists, and submits it
without arguments to this queue. The control plane assigns it, on the loop's thread, as one attempt
(`on_assign`), which gets values of its own (`own_values`). A run that was submitted waits for a place
(`AttemptThreads`); one that was called directly is handed to the thread that called it, which executes it
itself (`serve`, or value by value: `iterate`). What it gives is put into its future first and reported then,
so that users get the very object that their task made. A failed attempt is assigned again, with the call that
is still kept: calls are forgotten when their future is settled.

Three things end an attempt from outside. A cancellation, or a timeout, is raised in its thread at the next
bytecode. An attempt that was dropped, because the server had given it up meanwhile and assigns the run anew,
goes on but is not reported: its epoch is over. And the process itself may end: then the session ends, and its
runs with it.

Invariant: every attempt in hand is reported once or dropped, and its run is served again only under a new
epoch. Methods that the link calls, and all else that touches `_attempts`, run on the loop's thread.
"""

import logging
import threading
from collections.abc import AsyncGenerator, Generator, Iterable, Sequence
from contextlib import aclosing
from typing import Any, Final
from weakref import WeakKeyDictionary

from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.futures.future import Future
from taskyard._engine.futures.in_values import futures_in
from taskyard._engine.submission.arguments import states_noted
from taskyard._engine.submission.ports import Arguments
from taskyard._engine.submission.scope import Scope
from taskyard._engine.thread_agent.attempt_logs import AttemptLogs
from taskyard._engine.thread_agent.attempts import ThreadAttempt
from taskyard._engine.thread_agent.beginnings import Beginnings
from taskyard._engine.thread_agent.direct_calls import DirectCalls
from taskyard._engine.thread_agent.kept import Kept, Results, Upstream
from taskyard._engine.thread_agent.own_values import copied, holds_states
from taskyard._engine.thread_agent.threads import AttemptThreads
from taskyard._network.server.loop_thread import loop_thread
from taskyard._network.session.session import Session
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import template_pb2
from taskyard_contract import capabilities, encodings
from taskyard_contract.agent_link import AgentStream, Identity, LinkSession
from taskyard_contract.agent_link.handler import Demand
from taskyard_contract.clock import SystemClock
from taskyard_contract.errors import TaskyardError
from taskyard_contract.id_factory import new_id
from taskyard_contract.ids import format_id, split_ids
from taskyard_contract.states import StateReason

logger = logging.getLogger("taskyard.task_runners")
MOST_CHUNK: Final = 16
"""Coroutines that come together: they begin at the same time."""
GOODBYE_SECONDS: Final = 1.0
"""How long the end of a session is put off for reports on their way; what is lost is executed again."""
FAREWELL_SECONDS: Final = 0.2
"""The same for the answer to the farewell, which comes within a millisecond."""


class ThreadAgent:
    """The runs of one session that this process executes itself. Implements `LinkHandler`."""

    def __init__(self, session: Session, max_workers: int, coroutines: int = 0, number: int = 0) -> None:
        """Serve with so many places, and others for so many runs of coroutine functions.

        Args:
            session: Whose runs.
            max_workers: Places.
            coroutines: Places for coroutine functions; 0 when they take those of all.
            number: Tells several of one session apart.
        """
        self.session = session
        self.queue = f"session-{session.session_id.hex()}" + (f"-{number}" if number else "")
        self.threads = AttemptThreads(max_workers, self._wake)
        self.coroutines = AttemptThreads(coroutines, self._wake)
        """Of coroutine functions: each has a thread with a loop of its own, which its code may block."""
        self.results: Results = WeakKeyDictionary()
        self._kept: dict[bytes, Kept[ThreadAttempt]] = {}
        self._attempts: dict[bytes, ThreadAttempt] = {}
        self._lock = threading.Lock()
        self._direct = DirectCalls(self._wake, self._left)
        self._coroutines = 0
        """How many attempts have places for coroutine functions."""
        self._closed = False
        identity = Identity(
            agent_id=self.queue,
            session_id=new_id(),
            name=f"session {format_id(session.session_id)}",
            queues=(self.queue,),
            slots=max_workers,
            coroutines=coroutines,
            own_session_id=session.session_id,
            # Tasks never leave this process, so they are known here by their names alone.
            capabilities=(capabilities.CODE_BY_NAME, encodings.PICKLE, encodings.JSON, encodings.BINARY),
        )
        self._link = LinkSession(identity, self)
        self._beginnings = Beginnings(self._attempts, self._link.started)
        self.logs = AttemptLogs(session, self._link)
        loop_thread.run(self._start())

    async def _start(self) -> None:
        import asyncio

        self._stream = AgentStream(self.session.locate(), self._link, SystemClock())
        self._task = asyncio.get_running_loop().create_task(self._run(self._stream))

    async def _run(self, stream: AgentStream) -> None:
        try:
            await stream.run()
        except TaskyardError as error:
            self._fail(error)
        except Exception as defect:  # whatever it is: nobody else would ever execute what waits
            unforeseen = TaskyardError(
                f"this process can no longer execute its runs ({type(defect).__name__}: {defect})"
            )
            unforeseen.__cause__ = defect
            self._fail(unforeseen)

    def _fail(self, error: TaskyardError) -> None:
        logger.error("the threads of this session end: %s", error)
        self.session.fail(error)

    def close(self) -> None:
        """Stop serving; what still executes is not waited for. Generators end as if left by their callers."""
        for attempt in list(self._attempts.values()):
            attempt.abandon()
        self._closed = True
        loop_thread.run(self._stop())
        self.threads.close()
        self.coroutines.close()

    def leave_to_parent(self) -> None:
        """Report nothing any more: this process is a child of the one that serves."""
        self._closed, self.logs.with_reports = True, False

    async def _stop(self) -> None:
        import asyncio

        await self._stream.settle(GOODBYE_SECONDS)
        # The server forgets at once whoever drains and leaves; else it would say that an agent was lost.
        self._link.drain()
        self._stream.stop()
        await asyncio.wait([self._task], timeout=FAREWELL_SECONDS)
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
        call = states_noted(call, upstream, self._future_of)
        known = {awaited.run_id: (awaited, kind) for awaited, kind in futures_in(call).items()}
        upstream.update({run_id: kind for run_id, (_, kind) in known.items()})
        inside: dict[bytes, int] = {}
        # A state among the arguments is read when the run starts, so nothing is copied before.
        copy = True if holds_states(call) else copied(call, inside)
        if isinstance(copy, bytes):
            upstream.update(inside)
        by_run: Upstream = {
            run_id: known.get(run_id) or (self._future_of(run_id), kind) for run_id, kind in upstream.items()
        }
        kept = self._kept[future.run_id] = Kept(task, scope, future, call, direct, copy, by_run)
        if direct:
            self._direct.enter(kept)
        future.when_settled(lambda: self._forget(future.run_id))

    def _future_of(self, run_id: bytes) -> Future[Any] | None:
        kept = self._kept.get(run_id)
        return kept.future if kept is not None else None

    def _forget(self, run_id: bytes) -> None:
        kept = self._kept.pop(run_id, None)
        if kept is not None:
            kept.assigned.put(None)

    def serve(self, future: Future[Any]) -> None:
        """Execute a run that was called directly in the calling thread, until it has ended."""
        kept = self._kept.get(future.run_id)
        if kept is not None:
            self._direct.serve(kept)

    def iterate(self, future: Future[Any]) -> Generator[Any, Any, Any]:
        """Execute a run of a generator task while its caller takes the values.

        Returns:
            What the generator returned.
        """
        kept = self._kept.get(future.run_id)
        if kept is not None:
            yield from self._direct.iterate(kept)
        return future.result()

    async def iterate_async(self, future: Future[Any]) -> AsyncGenerator[Any, None]:
        """Execute a run of an asynchronous generator task while its caller takes the values."""
        kept = self._kept.get(future.run_id)
        if kept is not None:
            async with aclosing(self._direct.iterate_async(kept)) as values:
                async for value in values:
                    yield value
        future.result()

    def leave_entered(self, why: BaseException) -> None:
        """Have a direct call that this thread has kept, and does not serve, executed by nobody."""
        kept = self._direct.leave_entered(why)
        if kept is not None and self.session.unended(kept.future.run_id) is None:
            self._forget(kept.future.run_id)  # it was not even submitted

    def _left(self, kept: Kept[ThreadAttempt]) -> None:
        """Report what was assigned of a call whose caller has gone, or its flow would wait for it."""

        def give_up() -> None:
            attempt = self._attempts.get(kept.future.run_id)
            if attempt is not None and kept.left is not None and not attempt.reported:
                attempt.give_up(kept.left)

        loop_thread.let_know(give_up)

    def _wake(self) -> None:
        """Let the link look at the demand again; a generator may be closed long after the session."""
        if not self._closed:
            loop_thread.loop().call_soon_threadsafe(self._link.wake)

    # For the threads that execute.

    def progress(self, progress: pb.RunProgress) -> None:
        """Tell how far a run is."""
        loop_thread.loop().call_soon_threadsafe(self._link.progress, progress)

    def ended(self, attempt: ThreadAttempt, columns: pb.ReportColumns | None) -> None:
        """Report an attempt that ended; None confirms its cancellation."""
        if not self._closed:
            loop_thread.loop().call_soon_threadsafe(self._report, attempt, columns)

    def _report(self, attempt: ThreadAttempt, columns: pb.ReportColumns | None) -> None:
        self.logs.move()  # of a run that has ended nothing is recorded
        if self._attempts.get(attempt.key.run_id) is attempt:
            del self._attempts[attempt.key.run_id]
            self._coroutines -= attempt.apart
        if attempt.dropped:
            self._link.wake()
        elif columns is None:
            self._link.cancelled(attempt.key)
        else:
            self._link.report(attempt.key.epoch, attempt.key.run_id, columns.SerializeToString())

    # For the link, on the loop thread.

    def on_welcome(self, welcome: pb.AgentWelcome) -> None:
        """Take over how logs go; the session knows the same limits."""
        self.logs.with_reports = capabilities.OWN_SESSION in welcome.capabilities
        self._beginnings.restate()

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
            attempt = ThreadAttempt(
                self, kept, key, template.template, body, body.ordinals[position], extras.get(position)
            )
            self._attempts[run_id] = attempt
            self._coroutines += attempt.apart
            if kept.direct:
                kept.assigned.put(attempt)
                if kept.left is not None:
                    attempt.give_up(kept.left)
            else:
                # Somebody waits for a nested run, and holds up others by that.
                attempt.threads.add(attempt, first=chunk.nested)
        self.threads.start()
        self.coroutines.start()
        self._beginnings.watch()

    def on_cancel(self, keys: Sequence[pb.RunKey]) -> None:
        """End runs: at once what has not started, the others at their next bytecode."""
        for key in keys:
            attempt = self._attempts.get(key.run_id)
            if attempt is None or attempt.key.epoch != key.epoch:
                continue
            if attempt.threads.take_back(attempt):
                self._report(attempt, None)
            else:
                attempt.cancel()

    def on_worlds_ended(self, world_ids: Sequence[bytes]) -> None:
        """Do nothing: the only program here is this one."""

    def on_drop(self, keys: Sequence[pb.RunKey]) -> None:
        """Forget runs that are somebody else's now; their threads are not stopped."""
        for key in keys:
            attempt = self._attempts.get(key.run_id)
            if attempt is None:
                continue
            attempt.dropped = True
            if attempt.threads.take_back(attempt):
                self._report(attempt, None)

    def on_doubt(self, doubtful: bool) -> None:
        """Nothing is held back: nobody else can execute these runs."""

    def on_lease_lost(self) -> None:
        """Go on: nobody else can execute these runs, and the next welcome says which of them do not count."""

    def on_drain(self) -> None:
        """Go on: the runs of this process cannot go elsewhere."""

    def held(self) -> Iterable[pb.RunKey]:
        """Name the runs in hand."""
        return [attempt.key for attempt in self._attempts.values() if not attempt.dropped]

    def demand(self) -> Demand:
        """Ask for twice the places, so that none is empty while the next runs come, and for direct calls.

        There is always room for these: where all threads make them, nothing would ever end without.
        """
        callers = self._direct.callers
        in_hand = len(self._attempts) - self._coroutines - self.threads.blocked_now - callers.iterating
        window = 2 * self.threads.places + callers.calling
        is_full = window - in_hand < callers.expecting
        if is_full:
            in_hand = window - callers.expecting
        return Demand(max(0, in_hand), window, 1, is_full, coroutines=self._demand_of_coroutines())

    def _demand_of_coroutines(self) -> Demand | None:
        own = self.coroutines
        if not own.places:
            return None
        # Half as many again: a few freed places are not told at once, and nobody else could execute these.
        return Demand(max(0, self._coroutines - own.blocked_now), own.places * 3 // 2, MOST_CHUNK)

    def counts_apart(self) -> bool:
        """Whether coroutine functions have places of their own, for this agent and for the server."""
        return self._link.counts_apart
