"""The state of a run as users see it.

A state is made only when somebody looks at a run, and its data is decoded only when somebody asks for
it: most results of a large map are never looked at one by one. Invariant: a state never changes, apart
from decoding its data once.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeGuard, TypeVar, overload
from uuid import UUID

from taskyard import _durable_names
from taskyard._data.values.folding import raises_of_runs
from taskyard._durable_names import public
from taskyard._missing_features import explain_attribute
from taskyard.exceptions import (
    CancelledRun,
    CrashedRun,
    FailedRun,
    MissingResult,
    PausedRun,
    TaskyardError,
    UnfinishedRun,
    UpstreamTaskError,
)
from taskyard_contract.for_people.run_lines import state_text
from taskyard_contract.states import StateType

R = TypeVar("R")

FINAL_TYPES: Final = frozenset(
    {StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED, StateType.CRASHED}
)
_ERRORS: Final[dict[StateType, type[TaskyardError]]] = {
    StateType.FAILED: FailedRun,
    StateType.CRASHED: CrashedRun,
    StateType.CANCELLED: CancelledRun,
}
NO_DATA: Final = object()
"""What decoding returns when nothing was stored with the state."""


@public("taskyard.states")
class StateDetails:
    """What is known about a state besides its type; None where it does not apply."""

    __slots__ = (
        "cache_expiration",
        "cache_key",
        "child_flow_run_id",
        "flow_run_id",
        "pause_timeout",
        "retriable",
        "scheduled_time",
        "task_run_id",
    )

    def __init__(
        self,
        *,
        flow_run_id: UUID | None = None,
        task_run_id: UUID | None = None,
        child_flow_run_id: UUID | None = None,
        scheduled_time: datetime | None = None,
        cache_key: str | None = None,
        cache_expiration: timedelta | None = None,
        pause_timeout: datetime | None = None,
        retriable: bool | None = None,
    ) -> None:
        """Say what is known of a state; the rest is None."""
        self.flow_run_id = flow_run_id
        self.task_run_id = task_run_id
        self.child_flow_run_id = child_flow_run_id
        self.scheduled_time = scheduled_time
        self.cache_key = cache_key
        self.cache_expiration = cache_expiration
        self.pause_timeout = pause_timeout
        self.retriable = retriable

    def __repr__(self) -> str:
        known = {name: getattr(self, name) for name in self.__slots__}
        return f"StateDetails({', '.join(f'{k}={v!r}' for k, v in known.items() if v is not None)})"


@public("taskyard.states")
class State(Generic[R]):
    """The state of a run: by its type code decides, its name is for people."""

    __slots__ = (
        *("_came_with", "_data", "_decode", "_keeps"),
        *("id", "message", "name", "state_details", "timestamp", "type"),
    )

    def __init__(
        self,
        type: StateType | str,  # the name users know
        *,
        name: str | None = None,
        message: str | None = None,
        data: Any = NO_DATA,
        decode: Callable[[], Any] | None = None,
        timestamp: datetime | None = None,
        state_details: StateDetails | None = None,
        id: UUID | None = None,  # the name users know
    ) -> None:
        """Describe a state.

        Args:
            type: One of `StateType`.
            name: For people; by default the type in title case.
            message: For people.
            data: The value of a completed run, or the exception of a failed one.
            decode: Makes `data` when it is first asked for.
            timestamp: When it was entered; by default now.
            state_details: Ids, times and keys around it.
            id: The state's own id, where it has one.
        """
        self.type = StateType(type)
        self.name = name or self.type.value.title()
        self.message = message or None
        self.timestamp = timestamp or datetime.now(UTC)
        self.state_details = state_details or StateDetails()
        self.id = id
        self._data = data
        self._decode = decode
        self._keeps = True
        self._came_with: Any = NO_DATA

    @property
    def data(self) -> Any:
        """The value or exception that belongs to the state; None when there is none."""
        value = self._decoded()
        return None if value is NO_DATA else value

    @property
    def has_data(self) -> bool:
        """Whether something, None included, was stored with the state."""
        return self._decode is not None or self._data is not NO_DATA

    def _decoded(self) -> Any:
        if self._decode is not None:
            data = self._decode()
            if not self._keeps:
                return data
            self._data, self._decode = data, None
        return self._data

    def keep_nothing(self) -> None:
        """Decode the data each time that it is asked for (`cache_result_in_memory=False`)."""
        self._keeps = False

    def of_flow_run(self, flow_run_id: UUID) -> "State[R]":
        """Return the same state as that of a flow run; this one, which its body returned, stays as it is.

        Args:
            flow_run_id: The flow run.
        """
        same = object.__new__(type(self))
        for name in State.__slots__:
            setattr(same, name, getattr(self, name))
        if type(self) is not State:
            vars(same).update(vars(self))
        details = {name: getattr(self.state_details, name) for name in StateDetails.__slots__}
        same.state_details = StateDetails(**{**details, "flow_run_id": flow_run_id})
        return same

    def is_scheduled(self) -> bool:
        """Say whether it waits for a time."""
        return self.type is StateType.SCHEDULED

    def is_pending(self) -> bool:
        """Say whether it has not started; a run that never will, "NotReady", is shown like this too."""
        return self.type is StateType.PENDING

    def is_running(self) -> bool:
        """Say whether the run was executing when somebody looked; a state does not follow its run."""
        return self.type is StateType.RUNNING

    def is_completed(self) -> bool:
        """Say whether the run succeeded, with a result of its own or one from the cache."""
        return self.type is StateType.COMPLETED

    def is_failed(self) -> bool:
        """Say whether user code failed."""
        return self.type is StateType.FAILED

    def is_crashed(self) -> bool:
        """Say whether the process that executed it was lost or interrupted."""
        return self.type is StateType.CRASHED

    def is_cancelled(self) -> bool:
        """Say whether the run was ended, or never begun, because nobody wanted it any more."""
        return self.type is StateType.CANCELLED

    def is_cancelling(self) -> bool:
        """Say whether cancellation was requested and has not been confirmed."""
        return self.type is StateType.CANCELLING

    def is_paused(self) -> bool:
        """Say whether it stands for a run that waits to be resumed."""
        return self.type is StateType.PAUSED

    def is_final(self) -> bool:
        """Say whether the run has ended."""
        return self.type in FINAL_TYPES

    @overload
    def result(self, raise_on_failure: Literal[True] = True) -> R: ...

    @overload
    def result(self, raise_on_failure: bool) -> Any: ...

    @raises_of_runs
    def result(self, raise_on_failure: bool = True) -> Any:
        """Return the value of the run.

        Args:
            raise_on_failure: Whether to raise the exception of a run that did not complete; otherwise
                it is returned, or the states are that the run was made of.

        Raises:
            PausedRun: The run is paused.
            UnfinishedRun: The run has not ended.
            UpstreamTaskError: It never starts, because an upstream run did not complete.
            MissingResult: The run completed and nothing was stored.
            Exception: Whatever ended the run, when `raise_on_failure`.
        """
        self._require_final()
        if self.type is StateType.COMPLETED:
            return self._completed_value()
        if raise_on_failure:
            raise self._as_it_came(self.exception())
        return self.data if _holds_states(self.data) else self.exception()

    def _as_it_came(self, error: BaseException) -> BaseException:
        """Return an exception with the traceback it had first, which would grow with each who asks."""
        if self._came_with is NO_DATA:
            self._came_with = error.__traceback__
        return error.with_traceback(self._came_with)

    @overload
    async def aresult(self, raise_on_failure: Literal[True] = True) -> R: ...

    @overload
    async def aresult(self, raise_on_failure: bool) -> Any: ...

    async def aresult(self, raise_on_failure: bool = True) -> Any:
        """Return the value of the run, like `result`."""
        return self.result(raise_on_failure)

    def exception(self) -> BaseException:
        """Return the exception that ended a run which did not complete.

        Raises:
            UnfinishedRun: The run has not ended.
            ValueError: The run completed, so there is no exception.
        """
        self._require_final()
        if self.type is StateType.COMPLETED:
            raise ValueError(f"the run completed, so it has no exception: {self}")
        data = self.data
        if isinstance(data, BaseException):
            return data
        if is_state(data):
            return data.exception() if not data.is_completed() else self._without_object(None)
        if is_state_iterable(data):
            bad = next((state for state in data if state.type in _ERRORS), None)
            return bad.exception() if bad is not None else self._without_object(None)
        return self._without_object(data)

    def _without_object(self, data: object) -> TaskyardError:
        """Describe a failure whose exception object is not there."""
        text = self.message or (data if isinstance(data, str) else "")
        return _ERRORS[self.type](text)

    def _completed_value(self) -> Any:
        value = self._decoded()
        if value is NO_DATA:
            raise MissingResult(
                f"the run is in state {self} and no value was stored with it; return a value, or a state "
                "made with data=..."
            )
        return value

    def _require_final(self) -> None:
        if self.type is StateType.PAUSED:
            raise PausedRun("the run is paused, its result is not available")
        if self.type not in FINAL_TYPES:
            because = f": {self.message}" if self.message else ""
            kind = UpstreamTaskError if _never_starts(self) else UnfinishedRun
            raise kind(f"the run is in state {self.name}, its result is not available{because}")

    if not TYPE_CHECKING:  # type checkers would stop checking names of attributes

        def __getattr__(self, name: str) -> Any:
            """Explain what is not there, in particular what it has in Prefect."""
            return explain_attribute("state", self, name)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with the data decoded: states are values that flows return."""
        data = {"data": self.data} if self.has_data else {}
        details = {name: getattr(self.state_details, name) for name in StateDetails.__slots__}
        rest = {"name": self.name, "message": self.message, "timestamp": self.timestamp, "id": self.id}
        kind = _durable_names.own_kind("state", self)
        return _durable_names.state, (self.type.value, {**rest, **data}, details, *kind)

    @classmethod
    def restored(cls, state_type: str, parts: dict[str, Any], details: dict[str, Any]) -> "State[Any]":
        """Return the state that `__reduce__` took apart: where pickles arrive."""
        return cls(state_type, state_details=StateDetails(**details), **parts)

    def __repr__(self) -> str:
        """Show the parts for debugging, like `Completed(message='text', type=COMPLETED)`."""
        return f"{self.name}(message={self.message!r}, type={self.type.value})"

    def __str__(self) -> str:
        """Show it for people, like `Completed('text')`."""
        return state_text(self.name, self.type, self.message)


@public("taskyard.states")
def is_state(value: object) -> TypeGuard[State[Any]]:
    """Say whether a value is a state, of whatever type; type checkers know it from there on."""
    return isinstance(value, State)


@public("taskyard.states")
def is_state_iterable(value: object) -> TypeGuard[Iterable[State[Any]]]:
    """Say whether a value is a list, tuple or set, not empty, of nothing but states."""
    return isinstance(value, (list, tuple, set)) and bool(value) and all(map(is_state, value))


def _never_starts(state: State[Any]) -> bool:
    return state.type is StateType.PENDING and state.name == "NotReady"


def _holds_states(data: object) -> bool:
    return is_state(data) or is_state_iterable(data)
