"""Hooks: functions of the user's that are called when a run changes its state."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from taskyard._data.runs.state import State
from taskyard._engine.execution.coroutines import called
from taskyard.context import RunContext
from taskyard.logging import get_run_logger


def run_hooks(
    hooks: Iterable[Callable[..., Any]], of: object, context: RunContext, state: State[Any]
) -> None:
    """Call hooks in order; what they raise is logged and changes nothing.

    Args:
        hooks: Called with the task or flow, its run, and the state.
        of: The task or flow.
        context: The context of its run.
        state: The state that the run has entered.
    """
    run = context.run
    run.state = state
    for hook in hooks:
        try:
            called(partial(hook, of, run, state))
        except Exception:  # user code
            name = getattr(hook, "__name__", repr(hook))
            get_run_logger(context).exception("hook '%s' raised, the state of the run is not changed", name)
