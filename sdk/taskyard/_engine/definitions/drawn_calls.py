"""Calls of tasks and flows that a drawing notes instead of executing them."""

import inspect
from collections.abc import AsyncGenerator
from typing import Any

from taskyard._data.runs.state import State
from taskyard._engine.definitions.decorated import Decorated
from taskyard.utilities.visualization import track_viz_task
from taskyard_contract.states import StateType


def drawn_call(
    of: Decorated[..., Any, Any],
    call: tuple[tuple[Any, ...], dict[str, Any]],
    wait_for: object,
    return_state: bool,
) -> Any:
    """Note a call in the drawing that is going on, and return what the body gets for it.

    Args:
        of: The task, or the flow, which is one node, whatever it calls.
        call: Positional and keyword arguments.
        wait_for: Further results that it waits for.
        return_state: Whether the body gets a state with the result.

    Raises:
        ParameterBindError: The arguments do not fit the function's signature.
    """
    parameters = of.signature.bind(*call)
    value = getattr(of.settings, "viz_return_value", None)

    def noted() -> Any:
        result = track_viz_task(False, of.name, parameters, value, wait_for)
        return State(StateType.COMPLETED, data=result) if return_state else result

    async def noted_async() -> Any:
        return noted()

    async def items() -> AsyncGenerator[Any, None]:
        for item in noted():
            yield item

    if of.kind == "task" and inspect.isasyncgenfunction(of.fn):
        return items()
    return noted_async() if of.isasync else noted()
