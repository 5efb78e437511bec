"""What is said of runs for people, in one line each: how they and their attempts ended, and what comes next.

Pure. The control plane records such a line with every retry and every end; programs show the same text for
the runs whose outcomes they get, and states say of themselves what the lines say of them. A line has no run's
name: whoever shows or lists it says whose it is.
"""

import logging
from typing import Final

from taskyard_contract.states import RunKind, RunState, StateReason, StateType, shown_as
from taskyard_contract.wire_text import cut

TASK_LOGGER: Final = "taskyard.task_runs"
FLOW_LOGGER: Final = "taskyard.flow_runs"
RETRY_LEVEL: Final = logging.WARNING
"""Of attempts that are made again, and of what else is worth a look."""
_WHY_LIMIT: Final = 1024
"""Bytes of an error's text inside a sentence; all of it is in the run's record."""


def logger_of(kind: int) -> str:
    """Return the name of the logger under which runs of a `RunKind` are spoken of."""
    return FLOW_LOGGER if kind == RunKind.FLOW else TASK_LOGGER


def level_of(state: int) -> int:
    """Return the level at which the end of a run is said, by its `RunState`."""
    if state == RunState.COMPLETED:
        return logging.INFO
    return logging.WARNING if state == RunState.CANCELLED else logging.ERROR


def state_text(name: str, state_type: StateType, message: str | None) -> str:
    """Say a state, like ``Completed('text')``."""
    shown = [repr(message)] if message else []
    if name.lower() != state_type.value.lower():
        shown.append(f"type={state_type.value}")
    return f"{name}({', '.join(shown)})"


def finished(
    state: int, reason: int, state_name: str, message: str, attempt: int = 0, attempts: int = 0
) -> str:
    """Say how a run ended.

    Args:
        state: Its `RunState`.
        reason: The `StateReason`.
        state_name: What user code called the state, if it did.
        message: What the state says.
        attempt: The attempt that it ended in; 0 says nothing.
        attempts: How many there could have been.
    """
    state_type, name = shown_as(state, reason, state_name)
    which = which_attempt(state, attempt, attempts)
    return f"{_FINISHED}{state_text(name, state_type, message)}{which}"


def finished_in(state: object) -> str:
    """Say in which state a run ended."""
    return f"{_FINISHED}{state}"


def is_end(text: str) -> bool:
    """Whether a line says how a run ended."""
    return text.startswith(_FINISHED)


_FINISHED: Final = "Finished in state "


def which_attempt(state: int, attempt: int, attempts: int) -> str:
    """Say in which attempt a run ended, where that says something."""
    return f", attempt {attempt} of {attempts}" if attempts > 1 and state in _ATTEMPTED else ""


_ATTEMPTED: Final = (RunState.FAILED, RunState.CRASHED)


def created(name: str, definition: str, kind: int = RunKind.TASK) -> str:
    """Say that there is a new run of a task or flow."""
    what = "flow" if kind == RunKind.FLOW else "task"
    return f"Created {what} run '{name}' for {what} '{definition}'"


def executing(name: str) -> str:
    """Say that a task was called, and its caller waits for it."""
    return f"Executing '{name}' immediately..."


def submitted(name: str) -> str:
    """Say that a run was submitted, and its caller goes on."""
    return f"Submitted task run '{name}' for execution."


def failed_attempt(attempt: int, attempts: int, why: str, delay: float) -> str:
    """Say that an attempt failed, and when the next one is made."""
    return f"Attempt {attempt} of {attempts} failed ({why}); next {_when(delay)}"


def lost_attempt(loss: int, losses: int, why: str) -> str:
    """Say that an attempt was lost through no fault of its code, and that it is made again."""
    return f"Attempt lost ({first_line(why)}); executed again at once, loss {loss} of at most {losses}"


def ended_together(count: int) -> str:
    """Say of many runs inside a flow run at once that they were cancelled."""
    runs = "1 run inside it was" if count == 1 else f"{count:,} runs inside it were"
    return f"{runs} cancelled"


def not_said() -> str:
    """Say that no more lines like the one before follow for a while."""
    return (
        "Many more runs of this task end like this, which is not said of each: 'taskyard run ls' lists them"
    )


def why_failed(error_type: str, error_text: str, message: str, reason: int = StateReason.NONE) -> str:
    """Say why an attempt failed: its exception in a few words, else what its state says.

    Args:
        error_type: The name of the exception's class; "" when there is none.
        error_text: What the exception says of itself.
        message: What the state says.
        reason: The `StateReason`.
    """
    if reason == StateReason.TIMED_OUT:
        return f"TimedOut: {first_line(message)}"
    if not error_type:
        return first_line(message) or "no reason was given"
    text = first_line(error_text)
    return f"{error_type}: {text}" if text else error_type


def upstream_failed(name: str, state: int, why: str) -> str:
    """Say why a run never starts whose upstream run did not complete (semantics B7).

    Args:
        name: The name of the upstream run, or its id.
        state: The `RunState` it ended in; 0 when that is not known.
        why: Why it ended so.
    """
    said = f"Upstream task run '{name}' did not reach a 'COMPLETED' state"
    deed = _DEEDS.get(state, "")
    if not deed:
        return f"{said}."
    return f"{said}: it {deed}: {why}" if why else f"{said}: it {deed}"


_DEEDS: Final[dict[int, str]] = {
    RunState.FAILED: "failed",
    RunState.CRASHED: "crashed",
    RunState.CANCELLED: "was cancelled",
}


def first_line(text: str) -> str:
    """Return the first line of a text, which has to fit into a sentence."""
    first, *more = text.strip().split("\n", 1)
    return cut(f"{first.rstrip()} ..." if more else first, _WHY_LIMIT)


def _when(delay: float) -> str:
    if delay <= 0:
        return "at once"
    return f"in {delay:.0f} s" if delay >= 100 else f"in {delay:.3g} s"
