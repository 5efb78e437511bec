"""Executing flow runs by calling a function, as calling the flow does."""

from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Literal

from taskyard._engine.flow_runs import async_engine, engine
from taskyard._missing_features import absent_names
from taskyard._prefect_names import reasons
from taskyard._refused_calls import refuse
from taskyard.context import hydrated_context
from taskyard.exceptions import FlowRunTimeoutError
from taskyard.flows import Flow

__all__ = ["FlowRunTimeoutError", "run_flow", "run_flow_async", "run_flow_sync"]

ReturnType = Literal["result", "state"]


def run_flow(
    flow: Flow[..., Any],
    flow_run: Any = None,
    parameters: Mapping[str, Any] | None = None,
    wait_for: Any = None,
    return_type: ReturnType = "result",
    error_logger: Any = None,
    context: Mapping[str, Any] | None = None,
) -> Any:
    """Run a flow: now, or in a coroutine, as the flow's function is.

    Args:
        flow: The flow.
        flow_run: None: a run that exists already is not taken over.
        parameters: Arguments by name.
        wait_for: Runs that must have completed before.
        return_type: "result", or "state" for the final state, and nothing raised.
        error_logger: Plays no role: what ends a run is logged by the run itself.
        context: What `taskyard.context.serialize_context` returned, for the run that it is to belong to.

    Raises:
        NotSupported: There is a `flow_run`.
        ParameterBindError: The arguments do not fit the function's signature.
        Exception: Whatever the function raised.
    """
    run: Any = run_flow_async if flow.isasync else run_flow_sync
    return run(flow, flow_run, parameters, wait_for, return_type, context)


def run_flow_sync(
    flow: Flow[..., Any],
    flow_run: Any = None,
    parameters: Mapping[str, Any] | None = None,
    wait_for: Any = None,
    return_type: ReturnType = "result",
    context: Mapping[str, Any] | None = None,
) -> Any:
    """Run a flow of an ordinary function; see `run_flow`."""
    call = _arguments(flow, flow_run, parameters)
    with hydrated_context(context):
        return engine.run_sync(flow, call, wait_for, return_type == "state")


def run_flow_async(
    flow: Flow[..., Any],
    flow_run: Any = None,
    parameters: Mapping[str, Any] | None = None,
    wait_for: Any = None,
    return_type: ReturnType = "result",
    context: Mapping[str, Any] | None = None,
) -> Coroutine[Any, Any, Any]:
    """Run a flow of a coroutine function once it is awaited; see `run_flow`."""
    call = _arguments(flow, flow_run, parameters)

    async def run() -> Any:
        with hydrated_context(context):
            return await async_engine.run_async(flow, call, wait_for, return_type == "state")

    return run()


def _arguments(
    flow: Flow[..., Any], flow_run: Any, parameters: Mapping[str, Any] | None
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return parameters as a call has them, what the flow is bound to among them."""
    if flow_run is not None:
        refuse("the argument flow_run of taskyard.flow_engine", reasons.DEPLOY)
    bound = dict(zip(flow.signature.signature.parameters, flow.prefix, strict=False))
    return flow.signature.split({**bound, **(parameters or {})})


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
