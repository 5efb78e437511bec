"""The future that users hold: a run that is awaited, and what they can do with it.

Invariant: its outcome is kept as it arrived and decoded when somebody asks for it, and then the value in its
place; of large ones only as many as there is room for (`kept`), others are read again. What is needed to wait
is made only for those who wait.
"""

import warnings
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast, overload
from uuid import UUID

from taskyard._data.runs.recorded import from_outcome, from_run
from taskyard._data.runs.state import State, StateDetails
from taskyard._data.values.awaited import Origin, run
from taskyard._data.values.folding import fold_run
from taskyard._data.values.holds import HOLDS
from taskyard._data.values.kept import DECODED, Dropped
from taskyard._data.values.told import Told
from taskyard._durable_names import public
from taskyard._engine.futures.callbacks import call_soon
from taskyard._engine.futures.held import STATE_BYTES, UNDECODED, HeldRun, Local, is_plain
from taskyard._engine.futures.waiting import wait_async, wait_blocking
from taskyard._missing_features import explain_attribute
from taskyard.exceptions import RunNotFound, TaskyardError
from taskyard_api.v1 import common_pb2
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.encodings import decode, decode_payload
from taskyard_contract.states import RunState, StateType

R = TypeVar("R")
IN_STORAGE: Final = b"stored_result"
"""Is in every pickle that refers to a result in storage of the user's, see `taskyard._durable_names`."""
_INSIDE: Final = frozenset(
    [
        *("announce", "drop", "forget", "has_dropped", "is_again", "keep_local", "origin", "outcome", "put"),
        *("run_id", "settle", "take_back", "weigh", "when_settled"),
    ]
)
"""What sessions, arguments and waiting threads do with futures."""
_LOCAL_STATES: Final[tuple[int, ...]] = (RunState.COMPLETED, RunState.FAILED)
"""States that a value, or an exception, of this process belongs to."""


@public("taskyard.futures")
class Future(HeldRun, Generic[R]):
    """The result of one task run, now or later."""

    __slots__ = ()

    _state: State[R] | None

    def __init__(self, run_id: bytes, origin: Origin) -> None:
        """Make the future of a run that was submitted from `origin`."""
        # All attributes are set here: one call less for each run of a map.
        self.run_id = run_id
        self.origin = origin
        self._outcome = None
        self._callbacks = None
        self._stretch = HOLDS.current
        self._value = UNDECODED
        self._state = None

    @property
    def task_run_id(self) -> UUID:
        """The id of the run, as records and the command line show it."""
        return UUID(bytes=self.run_id)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """Wait for the run to end and return its value.

        A large value is kept as long as there is room for it, and may be another object the next time.

        Args:
            timeout: Longest time to wait for its end, in seconds; None waits as long as it takes.
            raise_on_failure: Whether to raise the run's exception; otherwise it is returned.

        Raises:
            TimeoutError: The run did not end in time.
            UpstreamTaskError: The run will never start, because an upstream run did not complete.
            MissingResult: The control plane has the run no more, and its value was not kept here.
            Exception: Whatever the task raised.
        """
        if self._outcome is None and not wait_blocking(self, timeout):
            raise self._timed_out(timeout)
        try:
            value = self._result(raise_on_failure)
        except BaseException as error:
            fold_run(error)
            raise
        known = self.origin.known
        if known is not None:
            known.note(value, self.run_id)
        return value

    async def aresult(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """Wait for the run without blocking the event loop, and return its value, like `result`."""
        if self._outcome is None and not await wait_async(self, timeout):
            raise self._timed_out(timeout)
        try:
            if self._is_elsewhere():
                import asyncio

                value = await asyncio.to_thread(self._result, raise_on_failure)
            else:
                value = self._result(raise_on_failure)
        except BaseException as error:
            fold_run(error)
            raise
        known = self.origin.known
        if known is not None:
            known.note(value, self.run_id)
        return value

    def _is_elsewhere(self) -> bool:
        """Say whether reading the value may take its time: of a blob, or of storage of the user's."""
        if isinstance(self._outcome, Dropped):
            return True
        outcome = self.outcome
        if type(outcome) is bytes:
            return IN_STORAGE in outcome
        if not isinstance(outcome, pb.RunOutcome):
            return False
        return outcome.result.HasField("blob") or IN_STORAGE in outcome.result.data

    def __await__(self) -> Generator[Any, None, R]:
        """Wait for the value: ``await future``."""
        return self.aresult().__await__()

    @overload
    def wait(self, timeout: None = None) -> State[R]: ...

    @overload
    def wait(self, timeout: float | None) -> State[R] | None: ...

    def wait(self, timeout: float | None = None) -> State[R] | None:
        """Wait for the run to end; returns its final state, or None if it did not end in time."""
        return self._final_state() if wait_blocking(self, timeout) else None

    async def await_state(self) -> State[R]:
        """Wait for the run without blocking the event loop; returns its final state."""
        await wait_async(self, None)
        if isinstance(self._outcome, Dropped):
            import asyncio

            return await asyncio.to_thread(self._final_state)
        return self._final_state()

    async def wait_async(self, timeout: float | None = None) -> State[R] | None:
        """Wait for the run like `wait`, without blocking the event loop."""
        return await self.await_state() if await wait_async(self, timeout) else None

    async def result_async(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """Wait for the run and return its value: another name of `aresult`."""
        return await self.aresult(timeout, raise_on_failure)

    @property
    def state(self) -> State[R]:
        """The state of the run now: a property that asks the control plane, see `get_state`."""
        return self.get_state()

    def get_state(self) -> State[R]:
        """Return the state of the run now, without waiting for its end."""
        if self._outcome is not None:
            return self._final_state()
        try:
            return from_run(self.origin.record(self.run_id), self._decode_payload)
        except RunNotFound:  # its submission is on the way
            return State(StateType.PENDING, state_details=self._details())

    def cancel(self) -> None:
        """Ask for the run to be cancelled. It ends CANCELLED unless it is faster."""
        if self._outcome is None:
            self.origin.cancel(self.run_id)

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

    def keep_local(self, value: Any) -> None:
        """Remember the value, or the exception, of a run that was executed in this process.

        It is what users get once the control plane says that the run ended with it.
        """
        self._value = Local(value)

    def completed(self) -> bool:
        """Say whether the run has ended, and with a value."""
        return is_plain(self._outcome) or (self.done() and self._final_state().is_completed())

    def _result(self, raise_on_failure: bool) -> R:
        while True:
            outcome = self._outcome
            value = self._value
            if type(outcome) is bytes:
                if value is not UNDECODED:
                    return self._decoded(outcome)
                # As `_decoded` does: one call less for each run of a map.
                value = self._value = decode(outcome)
                self._outcome = DECODED
                return cast(R, value)
            if outcome is not DECODED:
                break
            if value is not UNDECODED:  # or it is being dropped
                return cast(R, value.value if type(value) is Local else value)
        if isinstance(outcome, Dropped) and outcome.is_plain:
            outcome = self._read_again(outcome)
            if type(outcome) is bytes:
                return self._decoded(outcome)
        if isinstance(outcome, TaskyardError):
            if raise_on_failure:
                raise outcome.with_traceback(None)  # many runs may share it, and all who ask would stay in it
            return cast(R, outcome)
        return cast(R, self._final_state().result(raise_on_failure))

    def _decoded(self, data: bytes) -> R:
        """Decode an ordinary value, once, and keep it in place of the bytes."""
        value = self._value
        if value is UNDECODED:
            value = self._value = decode(data)
        self._outcome = DECODED
        return cast(R, value.value if type(value) is Local else value)

    def _final_state(self) -> State[R]:
        """Return the state the run ended in; kept, so that its data is decoded, or fetched, once."""
        state = self._state
        if state is None:
            state = self._state = self._make_state()
            if isinstance(self._outcome, Told):
                self.weigh(STATE_BYTES)
        return state  # not what is there by now: it may have been dropped

    def _make_state(self) -> State[R]:
        outcome = self.outcome
        if is_plain(outcome):
            return State(
                StateType.COMPLETED, decode=lambda: self._result(True), state_details=self._details()
            )
        if isinstance(outcome, TaskyardError):
            return State(StateType.CRASHED, message=str(outcome), data=outcome, state_details=self._details())
        assert isinstance(outcome, pb.RunOutcome)
        state: State[R] = from_outcome(outcome, self._decode_payload, flow_run_id=self.origin.flow_run_id)
        value = self._value
        if type(value) is Local and int(outcome.state) in _LOCAL_STATES:
            return State(
                state.type,
                name=state.name,
                message=state.message,
                timestamp=state.timestamp,
                data=value.value,
                state_details=state.state_details,
            )
        return state

    def _details(self) -> StateDetails:
        raw = self.origin.flow_run_id
        return StateDetails(flow_run_id=UUID(bytes=raw) if raw else None, task_run_id=self.task_run_id)

    def _decode_payload(self, payload: common_pb2.Payload) -> Any:
        value = decode_payload(payload, self.origin.fetch)
        self._weigh_blob(payload)
        return value

    def _timed_out(self, timeout: float | None) -> TimeoutError:
        return TimeoutError(f"Task run {self.task_run_id} did not complete within {timeout} seconds")

    if not TYPE_CHECKING:  # type checkers would stop checking names of attributes

        def __getattr__(self, name: str) -> Any:
            """Explain what is not there, in particular what it has in Prefect."""
            return explain_attribute("future", self, name)

    def __dir__(self) -> list[str]:
        """Name what programs use; the rest is for whoever settles futures."""
        return sorted(set(super().__dir__()) - _INSIDE)

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
