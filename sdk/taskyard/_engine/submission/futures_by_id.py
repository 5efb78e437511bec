"""Futures of runs that outlive the program they are held in: deferred ones, and whatever has an id.

Invariant: a future made of an id asks for nothing until somebody wants to know, and watches its run only
while somebody waits: programs make such futures for thousands of runs and look at a few.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, ClassVar, Final, TypeVar, cast, overload
from uuid import UUID

from taskyard._data.runs.recorded import from_outcome
from taskyard._data.runs.state import State, StateDetails
from taskyard._data.values.awaited import AwaitedRun, Origin
from taskyard._durable_names import public
from taskyard._engine.futures.future import Future
from taskyard._engine.futures.typed import Reading, TypedFuture
from taskyard._engine.submission.scope import Scope, current_scope, outside_scope
from taskyard._network.server.calls import Client
from taskyard._network.server.run_watch import ResultWatch, outcome_of
from taskyard.context import current_context
from taskyard.exceptions import RunNotFound
from taskyard_api.v1 import common_pb2
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.encodings import PICKLE, decode_payload
from taskyard_contract.states import FIRST_FINAL, RunKind

R = TypeVar("R")
WORDS: Final = {RunKind.TASK: "task", RunKind.FLOW: "flow"}
"""What people call each kind of run."""


def id_of(run_id: UUID | str) -> UUID:
    """Return the id that a text is.

    Raises:
        ValueError: It is none.
    """
    if isinstance(run_id, UUID):
        return run_id
    try:
        return UUID(run_id)
    except (ValueError, AttributeError, TypeError):
        raise ValueError(f"{run_id!r} is no id of a run: 32 digits, as its record has them") from None


class _AnyReading(Reading):
    """Of a run of which nobody here knows more than its id: what it has made says in which encoding it is."""

    def payload(self, payload: common_pb2.Payload, origin: Origin) -> Any:
        return decode_payload(payload, origin.fetch)


class _Watching:
    """Watches the run of a future while somebody waits for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watch: ResultWatch | None = None

    def begin(self, future: "FutureById[Any]") -> None:
        with self._lock:
            if self._watch is None:
                self._watch = ResultWatch(future._calls(), future, future._own())
                self._watch.__enter__()

    def end(self, future: "FutureById[Any]") -> None:
        with self._lock:
            if future._is_waited_for():  # somebody began to wait meanwhile
                return
            watch, self._watch = self._watch, None
        if watch is not None:
            watch.__exit__()

    def drop(self) -> None:
        """Let go what has settled the future, and holds it."""
        with self._lock:
            self._watch = None


class FutureById(TypedFuture[R]):
    """A future that can be made of the id of a run, whoever submitted that."""

    __slots__ = ("_watching",)

    _KIND: ClassVar[RunKind] = RunKind.TASK

    def __init__(
        self, run_id: UUID | str | bytes, origin: Origin | None = None, reading: Reading | None = None
    ) -> None:
        """Mean a run; nothing is asked yet.

        Args:
            run_id: Its id.
            origin: Where it was submitted from, whose session settles this; whoever has no more than an id
                leaves it out.
            reading: How its result is read.

        Raises:
            ValueError: The text is no id.
        """
        self._watching = _Watching() if origin is None else None
        raw = run_id if isinstance(run_id, bytes) else id_of(run_id).bytes
        if reading is None:
            reading = (_AnyReading if origin is None else Reading)("", PICKLE)
        super().__init__(raw, origin or current_scope() or outside_scope(), reading)

    def _calls(self) -> Client:
        scope = cast(Scope, self.origin)
        if scope.failed():  # the future may be older than the connection
            scope = self.origin = outside_scope()
        return scope.session.client()

    def _own(self) -> AwaitedRun | None:
        """Return the same run as one of this process that has not ended: it may be on its way still."""
        if self._KIND != RunKind.TASK:
            return None
        return cast(Scope, self.origin).session.unended(self.run_id)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """Wait for the run to end and return its value, like the future of a call.

        Raises:
            TimeoutError: The run did not end in time.
            RunNotFound: There is no such run.
            ValueError: The code that waits belongs to that run.
            Exception: Whatever ended the run.
        """
        self._look()
        return super().result(timeout, raise_on_failure)

    async def aresult(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """Wait for the run without blocking the event loop, and return its value, like `result`."""
        await self._look_beside()
        return await super().aresult(timeout, raise_on_failure)

    @overload
    def wait(self, timeout: None = None) -> State[R]: ...

    @overload
    def wait(self, timeout: float | None) -> State[R] | None: ...

    def wait(self, timeout: float | None = None) -> State[R] | None:
        """Wait for the run to end; returns its final state, or None if it did not end in time.

        Raises:
            RunNotFound: There is no such run.
        """
        self._look()
        return super().wait(timeout)

    async def await_state(self) -> State[R]:
        """Wait for the run without blocking the event loop; returns its final state."""
        await self._look_beside()
        return await super().await_state()

    def add_done_callback(self, fn: Callable[[Future[R]], object]) -> None:
        """Call `fn` with this future when the run has ended; at once, in this thread, if it has.

        Raises:
            RunNotFound: There is no such run.
        """
        self._look()
        super().add_done_callback(fn)

    def cancel(self) -> None:
        """Ask for the run to be cancelled, whoever submitted it. It ends CANCELLED unless it is faster."""
        if self._outcome is None:
            if self._watching is None:
                super().cancel()
            else:
                self._calls().cancel_run(self.run_id)

    def when_settled(self, callback: Callable[[], None] | SimpleQueue[Any]) -> None:
        """Call `callback` once there is an outcome, and look for one from now on."""
        super().when_settled(callback)
        if self._watching is not None and self._outcome is None:
            self._watching.begin(self)

    def forget(self, callback: Callable[[], None] | SimpleQueue[Any]) -> None:
        """Take back a `when_settled`; the last one who does so ends the watch."""
        super().forget(callback)
        if self._watching is not None and self._outcome is None:
            self._watching.end(self)

    def announce(self) -> None:
        """Wake those who wait for it."""
        super().announce()
        if self._watching is not None and self._outcome is not None:
            self._watching.drop()

    def _is_waited_for(self) -> bool:
        """Say whether somebody wants to be told of its end."""
        return bool(self._callbacks)

    def _look(self) -> None:
        """Read the run, if nobody else tells of it: it may have ended long ago."""
        if self._watching is None or self._outcome is not None:
            return
        name = f"{WORDS[self._KIND]} run {UUID(bytes=self.run_id)}"
        context = current_context()
        if context is not None and self.run_id in (
            context.run.raw_id,
            context.flow_run_id.bytes if context.flow_run_id else b"",
        ):
            raise ValueError(f"{name} would wait for itself: this code belongs to it")
        calls = self._calls()
        if self._own() is not None:
            return
        run = calls.get_run(self.run_id, include_result=True)
        if int(run.kind) != self._KIND:
            other = WORDS[RunKind(run.kind)]
            raise RunNotFound(f"{name} does not exist: it is a {other} run, see taskyard.{other}_runs")
        if run.state >= FIRST_FINAL:
            self.settle(outcome_of(run))

    async def _look_beside(self) -> None:
        if self._watching is not None and self._outcome is None:
            import asyncio

            await asyncio.to_thread(self._look)


@public("taskyard.futures")
class TaskyardDistributedFuture(FutureById[R]):
    """The result of a task run that belongs to no flow: what `delay` returns, or made of an id alone.

    ``TaskyardDistributedFuture(task_run_id)`` asks for nothing until its state or its result is asked for.
    """

    __slots__ = ()

    def __init__(
        self, task_run_id: UUID | str | bytes, origin: Origin | None = None, reading: Reading | None = None
    ) -> None:
        """Mean a task run, see `FutureById`."""
        super().__init__(task_run_id, origin, reading)


@public("taskyard.futures")
class TaskyardFlowRunFuture(FutureById[R]):
    """The result of a flow run, whichever program it belongs to: made of its id."""

    __slots__ = ()

    _KIND = RunKind.FLOW

    def __init__(self, flow_run_id: UUID | str) -> None:
        """Mean a flow run; nothing is asked yet.

        Raises:
            ValueError: The text is no id.
        """
        super().__init__(flow_run_id)

    @property
    def flow_run_id(self) -> UUID:
        """The id of the run, as records and the command line show it."""
        return UUID(bytes=self.run_id)

    @property
    def task_run_id(self) -> UUID:
        """Not there: it is the future of a flow run."""
        raise AttributeError("the future of a flow run has no task_run_id; it has flow_run_id")

    def _make_state(self) -> State[R]:
        outcome = self.outcome
        if isinstance(outcome, pb.RunOutcome):
            return from_outcome(outcome, self._decode_payload, flow=True)
        return super()._make_state()

    def _details(self) -> StateDetails:
        return StateDetails(flow_run_id=self.flow_run_id)

    def _timed_out(self, timeout: float | None) -> TimeoutError:
        return TimeoutError(f"Flow run {self.flow_run_id} did not complete within {timeout} seconds")

    def __repr__(self) -> str:
        """Show the run's id and whether it is known to have ended."""
        return f"<Future of flow run {self.flow_run_id}, {'ended' if self.done() else 'open'}>"
