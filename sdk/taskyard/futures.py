"""Futures: the results of runs that may not have ended.

Invariant: a future is settled once and never changes after that. Its outcome is kept as it arrived and
decoded when somebody asks for it; what is needed to wait is made only for those who wait. Most futures
of a large map are neither waited for one by one nor looked at.
"""

import os
import threading
import warnings
from collections.abc import Callable, Generator
from contextlib import nullcontext
from typing import Any, Final, Generic, TypeVar, cast
from uuid import UUID

from taskyard._data.runs.recorded import from_outcome, from_run
from taskyard._data.runs.state import State, StateDetails
from taskyard._engine.futures.callbacks import call_soon, run
from taskyard._engine.futures.waiting import wait_async, wait_blocking
from taskyard._engine.submission.scope import Scope
from taskyard.exceptions import RunNotFound, TaskyardError
from taskyard_api.v1 import common_pb2
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract import references
from taskyard_contract.encodings import decode, decode_payload
from taskyard_contract.states import RunState, StateType

__all__ = [
    "Future",
    "FutureList",
    "DoneAndNotDone",
    "as_completed",
    "wait",
    "PrefectDistributedFuture",
    "PrefectFuture",
    "PrefectFutureList",
]

R = TypeVar("R")
_UNDECODED: Final = object()
_LOCAL_STATES: Final[tuple[int, ...]] = (RunState.COMPLETED, RunState.FAILED)
_callbacks_lock = threading.Lock()

Outcome = bytes | pb.RunOutcome | TaskyardError


class Future(Generic[R]):
    """The result of one task run, now or later."""

    __slots__ = ("__weakref__", "_callbacks", "_outcome", "_state", "_value", "run_id", "scope")

    def __init__(self, run_id: bytes, scope: Scope) -> None:
        """Make the future of a run that was submitted from `scope`."""
        self.run_id = run_id
        self.scope = scope
        self._outcome: Outcome | None = None
        self._value: Any = _UNDECODED
        self._state: State[R] | None = None
        self._callbacks: list[Callable[[], None]] | None = None

    @property
    def task_run_id(self) -> UUID:
        """The id of the run."""
        return UUID(bytes=self.run_id)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """Wait for the run to end and return its value.

        Args:
            timeout: Longest time to wait, in seconds; None waits as long as it takes.
            raise_on_failure: Whether to raise the run's exception; otherwise it is returned.

        Raises:
            TimeoutError: The run did not end in time.
            UnfinishedRun: The run will never start, because an upstream run did not complete.
            Exception: Whatever the task raised.
        """
        if self._outcome is None and not self._wait(timeout):
            raise self._timed_out(timeout)
        return self._result(raise_on_failure)

    async def aresult(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """Wait for the run without blocking the event loop, and return its value, like `result`."""
        if self._outcome is None and not await wait_async(self, timeout):
            raise self._timed_out(timeout)
        if isinstance(self._outcome, pb.RunOutcome) and self._outcome.result.HasField("blob"):
            import asyncio

            return await asyncio.to_thread(self._result, raise_on_failure)
        return self._result(raise_on_failure)

    def __await__(self) -> Generator[Any, None, R]:
        """Wait for the value: ``await future``."""
        return self.aresult().__await__()

    def wait(self, timeout: float | None = None) -> State[R] | None:
        """Wait for the run to end; returns its final state, or None if it did not end in time."""
        return self._final_state() if self._wait(timeout) else None

    async def await_state(self) -> State[R]:
        """Wait for the run without blocking the event loop; returns its final state."""
        await wait_async(self, None)
        return self._final_state()

    @property
    def state(self) -> State[R]:
        """The state of the run now."""
        return self.get_state()

    def get_state(self) -> State[R]:
        """Return the state of the run now, without waiting for its end."""
        if self._outcome is not None:
            return self._final_state()
        try:
            return from_run(self.scope.session.client().get_run(self.run_id), self._decode_payload)
        except RunNotFound:  # its submission is on the way
            return State(StateType.PENDING)

    def done(self) -> bool:
        """Say whether the run has ended."""
        return self._outcome is not None

    def cancel(self) -> None:
        """Ask for the run to be cancelled. It ends CANCELLED unless it is faster."""
        if self._outcome is None:
            self.scope.session.cancel([self.run_id])

    def add_done_callback(self, fn: Callable[["Future[R]"], object]) -> None:
        """Call `fn` with this future when the run has ended; at once, in this thread, if it has.

        Otherwise it is called on a thread that all callbacks share, so it should return soon.
        """

        def call() -> None:
            fn(self)

        if self._outcome is not None:
            run(call)
        else:
            self.when_settled(lambda: call_soon(call))

    # For the engine.

    @property
    def outcome(self) -> Outcome | None:
        """What became of the run, as it arrived; None before."""
        return self._outcome

    def put(self, outcome: Outcome) -> bool:
        """Settle without waking anybody; says whether `announce` must follow."""
        self._outcome = outcome
        return self._callbacks is not None

    def keep_local(self, value: Any) -> None:
        """Remember the value, or the exception, of a run that was executed in this process.

        It is what users get once the control plane says that the run ended with it.
        """
        self._value = value

    def announce(self) -> None:
        """Wake those who wait for this future."""
        with _callbacks_lock:
            callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            run(callback)

    def settle(self, outcome: Outcome) -> None:
        """Settle and wake those who wait."""
        if self._outcome is None and self.put(outcome):
            self.announce()

    def when_settled(self, callback: Callable[[], None]) -> None:
        """Call `callback` once settled; at once if that has happened."""
        with _callbacks_lock:
            if self._callbacks is None:
                self._callbacks = []
            self._callbacks.append(callback)
        # Whoever settles reads the callbacks after storing the outcome, and this reads the outcome after
        # storing the callback, so that one of the two sees the other.
        if self._outcome is not None:
            self.announce()

    def forget(self, callback: Callable[[], None]) -> None:
        """Take back a `when_settled` that is no longer needed."""
        with _callbacks_lock:
            if self._callbacks is not None and callback in self._callbacks:
                self._callbacks.remove(callback)

    def _wait(self, timeout: float | None) -> bool:
        if self._outcome is not None:
            return True
        host = self.scope.host
        with host.blocked() if host is not None else nullcontext():
            return wait_blocking(self, timeout)

    def _result(self, raise_on_failure: bool) -> R:
        outcome = self._outcome
        if type(outcome) is bytes:
            if self._value is _UNDECODED:
                self._value = decode(outcome)
            value: R = self._value
            return value
        if isinstance(outcome, TaskyardError):
            if raise_on_failure:
                raise outcome
            return cast(R, outcome)
        return cast(R, self._final_state().result(raise_on_failure))

    def _final_state(self) -> State[R]:
        """Return the state the run ended in; kept, so that its data is decoded, or fetched, once."""
        if self._state is None:
            self._state = self._make_state()
        return self._state

    def _make_state(self) -> State[R]:
        outcome = self._outcome
        if type(outcome) is bytes:
            return State(
                StateType.COMPLETED, decode=lambda: self._result(True), state_details=self._details()
            )
        if isinstance(outcome, TaskyardError):
            return State(StateType.CRASHED, message=str(outcome), data=outcome, state_details=self._details())
        assert isinstance(outcome, pb.RunOutcome)
        state: State[R] = from_outcome(outcome, self._decode_payload)
        if self._value is not _UNDECODED and int(outcome.state) in _LOCAL_STATES:
            return State(
                state.type,
                name=state.name,
                message=state.message,
                timestamp=state.timestamp,
                data=self._value,
                state_details=state.state_details,
            )
        return state

    def _details(self) -> StateDetails:
        return StateDetails(task_run_id=self.task_run_id)

    def _decode_payload(self, payload: common_pb2.Payload) -> Any:
        return decode_payload(payload, self.scope.session.fetch)

    def _timed_out(self, timeout: float | None) -> TimeoutError:
        return TimeoutError(f"Task run {self.task_run_id} did not complete within {timeout} seconds")

    def __reduce__(self) -> tuple[Any, ...]:
        """Become a reference: pickled as an argument of a task, a future is a dependency."""
        references.note(self.run_id)
        return references.resolve, (self.run_id,)

    def __eq__(self, other: object) -> bool:
        """Futures of the same run are equal."""
        return isinstance(other, Future) and self.run_id == other.run_id

    def __hash__(self) -> int:
        """Hash the id of the run."""
        return hash(self.run_id)

    def __bool__(self) -> bool:
        """Be true, with a warning: a future says nothing about the truth of its value."""
        warnings.warn(
            "a future is always true, whatever its value will be; call .result() and test that",
            stacklevel=2,
        )
        return True

    def __repr__(self) -> str:
        """Show the run's id and whether it has ended."""
        return f"<Future of task run {self.task_run_id}, {'ended' if self.done() else 'open'}>"


def _after_fork() -> None:
    global _callbacks_lock
    _callbacks_lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)

from taskyard._engine.futures.sets import DoneAndNotDone, FutureList, as_completed, wait  # noqa: E402  # needs Future

PrefectFuture = Future
PrefectDistributedFuture = Future
PrefectFutureList = FutureList
