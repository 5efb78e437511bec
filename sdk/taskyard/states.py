"""States, and functions that make them by hand: a task or flow may return one to decide how it ends.

Named and called as in Prefect 3. States of recorded runs are made by `from_outcome` and `from_run`.
"""

import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from taskyard._data.runs.recorded import from_outcome, from_run
from taskyard._data.runs.state import State, StateDetails, is_state, is_state_iterable
from taskyard._data.runs.state_group import StateGroup, state_of_value
from taskyard._data.values.failures import exception_of, interruption_of
from taskyard._missing_features import absent_names
from taskyard_contract.failures import text_of, type_name
from taskyard_contract.states import StateType

__all__ = [
    "State",
    "StateDetails",
    "StateGroup",
    "StateType",
    "is_state",
    "is_state_iterable",
    "Scheduled",
    "Late",
    "AwaitingRetry",
    "AwaitingConcurrencySlot",
    "Pending",
    "NotReady",
    "Running",
    "Retrying",
    "Paused",
    "Suspended",
    "Cancelling",
    "Cancelled",
    "Completed",
    "Cached",
    "Failed",
    "TimedOut",
    "Crashed",
    "aget_state_exception",
    "araise_state_exception",
    "exception_of",
    "exception_to_crashed_state",
    "exception_to_failed_state",
    "from_outcome",
    "from_run",
    "get_state_exception",
    "raise_state_exception",
    "return_value_to_state",
]

_UNSUCCESSFUL: Final = (StateType.FAILED, StateType.CRASHED, StateType.CANCELLED)


def _scheduled(name: str, scheduled_time: datetime | None, options: dict[str, Any]) -> State[Any]:
    details: StateDetails = options.pop("state_details", None) or StateDetails()
    if scheduled_time is not None and details.scheduled_time is not None:
        raise ValueError("an extra scheduled_time was given: state_details has one already")
    details.scheduled_time = scheduled_time or details.scheduled_time or datetime.now(UTC)
    options.setdefault("name", name)
    return State(StateType.SCHEDULED, state_details=details, **options)


def Scheduled(scheduled_time: datetime | None = None, **options: Any) -> State[Any]:  # noqa: N802
    """Make a state that waits for a time; without one, for now."""
    return _scheduled("Scheduled", scheduled_time, options)


def Late(scheduled_time: datetime | None = None, **options: Any) -> State[Any]:  # noqa: N802
    """Make the state of a run whose time has passed without a start."""
    return _scheduled("Late", scheduled_time, options)


def AwaitingRetry(scheduled_time: datetime | None = None, **options: Any) -> State[Any]:  # noqa: N802
    """Make the state between a failed attempt and the next one."""
    return _scheduled("AwaitingRetry", scheduled_time, options)


def AwaitingConcurrencySlot(  # noqa: N802
    scheduled_time: datetime | None = None, **options: Any
) -> State[Any]:
    """Make the state of a run that waits for a limit."""
    return _scheduled("AwaitingConcurrencySlot", scheduled_time, options)


def _named(state_type: StateType, name: str, options: dict[str, Any]) -> State[Any]:
    options.setdefault("name", name)
    return State(state_type, **options)


def Pending(**options: Any) -> State[Any]:  # noqa: N802
    """Make the state of a run that has not started."""
    return State(StateType.PENDING, **options)


def NotReady(**options: Any) -> State[Any]:  # noqa: N802
    """Make the state of a run whose upstream runs did not complete."""
    return _named(StateType.PENDING, "NotReady", options)


def Running(**options: Any) -> State[Any]:  # noqa: N802
    """Make the state of a run that executes."""
    return State(StateType.RUNNING, **options)


def Retrying(**options: Any) -> State[Any]:  # noqa: N802
    """Make the state of a run that executes again after a failed attempt."""
    return _named(StateType.RUNNING, "Retrying", options)


def _paused(name: str, timeout_seconds: float | None, options: dict[str, Any]) -> State[Any]:
    details: StateDetails = options.pop("state_details", None) or StateDetails()
    if timeout_seconds is not None:
        details.pause_timeout = datetime.now(UTC) + timedelta(seconds=timeout_seconds)
    options.setdefault("name", name)
    return State(StateType.PAUSED, state_details=details, **options)


def Paused(timeout_seconds: float | None = None, **options: Any) -> State[Any]:  # noqa: N802
    """Make the state of a run that waits for somebody to resume it."""
    return _paused("Paused", timeout_seconds, options)


def Suspended(timeout_seconds: float | None = None, **options: Any) -> State[Any]:  # noqa: N802
    """Make the state of a run that was put aside until somebody resumes it."""
    return _paused("Suspended", timeout_seconds, options)


def Cancelling(**options: Any) -> State[Any]:  # noqa: N802
    """Make the state of a run whose cancellation was requested."""
    return State(StateType.CANCELLING, **options)


def Cancelled(**options: Any) -> State[Any]:  # noqa: N802
    """Make the state of a run that was cancelled."""
    return State(StateType.CANCELLED, **options)


def Completed(**options: Any) -> State[Any]:  # noqa: N802
    """Make the state of a run that succeeded."""
    return State(StateType.COMPLETED, **options)


def Cached(**options: Any) -> State[Any]:  # noqa: N802
    """Make the state of a run whose value came from the cache."""
    return _named(StateType.COMPLETED, "Cached", options)


def Failed(**options: Any) -> State[Any]:  # noqa: N802
    """Make the state of a run whose code failed."""
    return State(StateType.FAILED, **options)


def TimedOut(**options: Any) -> State[Any]:  # noqa: N802
    """Make the state of a run that took too long."""
    return _named(StateType.FAILED, "TimedOut", options)


def Crashed(**options: Any) -> State[Any]:  # noqa: N802
    """Make the state of a run whose process was lost."""
    return State(StateType.CRASHED, **options)


def get_state_exception(state: State[Any]) -> BaseException:
    """Return the exception that ended a run which failed, crashed or was cancelled.

    Args:
        state: Its state; of one that holds states, the exception of the first that was not successful.

    Raises:
        ValueError: The state is another one.
    """
    if state.type not in _UNSUCCESSFUL:
        raise ValueError(f"Expected failed or crashed state got {state!r}.")
    return state.exception()


async def aget_state_exception(state: State[Any]) -> BaseException:
    """Return what `get_state_exception` does."""
    return get_state_exception(state)


def raise_state_exception(state: State[Any]) -> None:
    """Raise the exception that ended a run, if it failed, crashed or was cancelled.

    Args:
        state: Its state.
    """
    if state.type in _UNSUCCESSFUL:
        state.result()


async def araise_state_exception(state: State[Any]) -> None:
    """Raise what `raise_state_exception` does."""
    raise_state_exception(state)


async def return_value_to_state(retval: Any, result_store: object = None) -> State[Any]:
    """Return the state that a run ends in whose function returned a value.

    A state made by hand is used as it is; other states, and collections of nothing but states, decide
    together: all completed, or cancelled, paused or failed if one is. Everything else completes.

    Args:
        retval: The value; futures in it were resolved before, see
            `taskyard.futures.resolve_futures_to_states`.
        result_store: Plays no role, the state has the value itself. Programs written for Prefect name it.
    """
    return state_of_value(retval)


async def exception_to_failed_state(
    exc: BaseException | None = None, result_store: object = None, **options: Any
) -> State[Any]:
    """Make the state of a run that ended with an exception.

    Args:
        exc: The exception; by default the one that is being handled.
        result_store: Plays no role, the state has the exception itself. Programs written for Prefect name it.
        **options: Of the state; a message is put before that of the exception.

    Raises:
        ValueError: There is no exception.
    """
    error = exc or sys.exception()
    if error is None:
        raise ValueError("no exception was given, and none is being handled here")
    text = ": ".join(filter(None, [type_name(error), text_of(error)]))
    before = options.pop("message", None)
    state = Failed(data=error, message=f"{before} {text}" if before else text, **options)
    state.state_details.retriable = False
    return state


async def exception_to_crashed_state(exc: BaseException, result_store: object = None) -> State[Any]:
    """Make the state of a run that something outside of its code ended: a signal, an exit.

    Args:
        exc: What ended it.
        result_store: Plays no role, as above.
    """
    return Crashed(message=interruption_of(exc), data=exc)


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
