"""Bodies of flows executed with their tasks stubbed, to see what calls what.

Invariant: nothing is recorded, and no task is executed. Everything else in the body is.
"""

import inspect
import sys
from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

from taskyard._engine.definitions.decorated import P, R
from taskyard._engine.definitions.flow_definition import FlowDefinition
from taskyard.utilities.visualization import (
    TaskVizTracker,
    VisualizationUnsupportedError,
    build_mermaid_graph,
    build_task_dependencies,
    visualize_task_dependencies,
)

T = TypeVar("T")
Call = tuple[tuple[Any, ...], dict[str, Any]]
_HINT = (
    "the flow was drawn: its tasks were not executed, and their results were VizTask objects. A task whose "
    "result the flow itself looks at needs something to stand for it: @task(viz_return_value=[1, 2, 3])"
)


class DrawableFlow(FlowDefinition[P, R], Generic[P, R]):
    """A flow that can be drawn."""

    def visualize(self, /, *args: Any, **kwargs: Any) -> Any:
        """Draw which tasks the flow calls, and what they hand on, into a PNG file, and open that.

        The body is executed; its tasks, and flows that it calls, are not: they give something that stands
        for their result, or what their `viz_return_value` says.

        Args:
            *args: Arguments of the function.
            **kwargs: Arguments of the function.

        Returns:
            Something that can be awaited, which has to be done only for an async flow, in an event loop.

        Raises:
            VisualizationUnsupportedError: The body calls `submit`, `map` or `delay`.
            GraphvizImportError: The Python package graphviz is not installed.
            GraphvizExecutableNotFoundError: Graphviz itself is not.
            FlowVisualizationError: It could not draw.
            Exception: Whatever the body raised.
        """

        def show(tracker: TaskVizTracker) -> Done:
            visualize_task_dependencies(build_task_dependencies(tracker), self.name)
            return Done()

        return _drawn(self, (self._prefix + args, kwargs), show)

    def generate_mermaid_graph(self, /, *args: Any, **kwargs: Any) -> Any:
        """Return what `visualize` draws as a Mermaid flowchart: text, for which nothing is installed.

        Args:
            *args: Arguments of the function.
            **kwargs: Arguments of the function.

        Returns:
            The text; for an async flow, where an event loop runs, a coroutine that returns it.

        Raises:
            VisualizationUnsupportedError: The body calls `submit`, `map` or `delay`.
            Exception: Whatever the body raised.
        """
        return _drawn(self, (self._prefix + args, kwargs), build_mermaid_graph)


class Done:
    """What has been done already, for callers that await it and for those that do not."""

    def __await__(self) -> Generator[Any, None, None]:
        """Be awaited at once."""
        yield from ()


def _drawn(flow: FlowDefinition[..., Any], call: Call, use: Callable[[TaskVizTracker], T]) -> Any:
    """Draw a flow.

    Args:
        flow: The flow.
        call: The arguments of its body.
        use: What becomes of the drawing.

    Returns:
        What `use` returned; for an async flow, where an event loop runs, a coroutine that returns it.

    Raises:
        Exception: Whatever the body, or `use`, raised.
    """
    if not flow.isasync:
        tracker = _drawn_body(flow, call)
        return use(tracker)

    async def draw() -> T:
        return use(await _drawn_body_async(flow, call))

    if is_in_loop():
        return draw()
    import asyncio

    return asyncio.run(draw())


def is_in_loop() -> bool:
    """Say whether this code is called from an event loop."""
    asyncio = sys.modules.get("asyncio")  # without it there is no loop
    return asyncio is not None and asyncio._get_running_loop() is not None


def _drawn_body(flow: FlowDefinition[..., Any], call: Call) -> TaskVizTracker:
    args, kwargs = _arguments(flow, call)
    with TaskVizTracker() as tracker:
        try:
            value = flow.body(*args, **kwargs)
            if inspect.isgenerator(value):
                list(value)
        except VisualizationUnsupportedError:
            raise
        except Exception as error:
            error.add_note(_HINT)
            raise
    return tracker


async def _drawn_body_async(flow: FlowDefinition[..., Any], call: Call) -> TaskVizTracker:
    args, kwargs = _arguments(flow, call)
    with TaskVizTracker() as tracker:
        try:
            value = flow.body(*args, **kwargs)
            if hasattr(value, "__aiter__"):
                [item async for item in value]
            else:
                await value
        except VisualizationUnsupportedError:
            raise
        except Exception as error:
            error.add_note(_HINT)
            raise
    return tracker


def _arguments(flow: FlowDefinition[..., Any], call: Call) -> Call:
    """Return the arguments as a run would get them: converted to their declared types."""
    parameters = flow.signature.bind(*call)
    if flow.validator is not None:
        parameters = flow.validator.validate(parameters)
    return flow.signature.split(parameters)
