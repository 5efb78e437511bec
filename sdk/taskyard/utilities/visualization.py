"""Flows drawn as graphs: which tasks a body calls, and which of their results it hands on.

While a body is drawn its tasks are not executed: each call gives a `VizTask`, or what the task's option
`viz_return_value` says, and is noted by a `TaskVizTracker`. `Flow.visualize` does so, and
`Flow.generate_mermaid_graph`; programs need no more of this than the exceptions.
Invariant: only calls of the body itself are noted. Flows that other threads run meanwhile are run.
"""

import logging
import threading
from collections.abc import Mapping
from contextvars import ContextVar, Token
from types import EllipsisType, NotImplementedType
from typing import TYPE_CHECKING, Any, Final, Self

from taskyard._data.runs.state import State
from taskyard._data.values.containers import with_parts
from taskyard._missing_features import absent_names
from taskyard.exceptions import TaskyardError
from taskyard.utilities.annotations import Annotation

__all__ = [
    "FlowVisualizationError",
    "GraphvizExecutableNotFoundError",
    "GraphvizImportError",
    "TaskVizTracker",
    "VisualizationUnsupportedError",
    "VizTask",
    "build_mermaid_graph",
    "build_task_dependencies",
    "get_task_viz_tracker",
    "track_viz_task",
    "visualize_task_dependencies",
]

logger: Final = logging.getLogger("taskyard.flows")
drawings = 0
"""How many bodies are being drawn: what calls look at first, because it is nearly always 0."""
_lock = threading.Lock()
_tracker: ContextVar["TaskVizTracker | None"] = ContextVar("taskyard_drawing", default=None)


class FlowVisualizationError(TaskyardError):
    """A flow cannot be drawn."""


class VisualizationUnsupportedError(TaskyardError):
    """A body does something that has no place in a drawing, such as `submit` and `map`."""


class GraphvizImportError(TaskyardError):
    """The Python package graphviz is not installed."""


class GraphvizExecutableNotFoundError(TaskyardError):
    """Graphviz, the program that draws, is not installed."""


class VizTask:
    """One call in a drawing: what the body gets for it, and what stands for it in the graph."""

    def __init__(self, name: str, upstream_tasks: "list[VizTask] | None" = None) -> None:
        """Stand for a call of a task, or of a flow, of this name."""
        self.name = name
        self.upstream_tasks = upstream_tasks or []

    def __repr__(self) -> str:
        """Name the call."""
        return f"<VizTask '{self.name}'>"


class TaskVizTracker:
    """Notes the calls that are made while it is entered, by the code that has entered it."""

    def __init__(self) -> None:
        """Start with an empty drawing."""
        self.tasks: list[VizTask] = []
        self.dynamic_task_counter: dict[str, int] = {}
        self.object_id_to_task: dict[int, VizTask] = {}
        self._kept: list[Any] = []
        self._token: Token[TaskVizTracker | None] | None = None

    def __enter__(self) -> Self:
        """Note calls from now on."""
        global drawings
        with _lock:
            drawings += 1
        self._token = _tracker.set(self)
        return self

    def __exit__(self, *error: object) -> None:
        """Leave calls alone again."""
        global drawings
        with _lock:
            drawings -= 1
        if self._token is not None:
            _tracker.reset(self._token)

    def add_task(self, task: VizTask) -> None:
        """Add a call; its name gets the number that it has among those of this name."""
        number = self.dynamic_task_counter.get(task.name, -1) + 1
        self.dynamic_task_counter[task.name] = number
        task.name = f"{task.name}-{number}"
        self.tasks.append(task)

    def link_viz_return_value_to_viz_task(self, viz_return_value: Any, viz_task: VizTask) -> None:
        """Let an object stand for a call where it is handed on; not one that exists only once in Python."""
        if not _is_one_of_a_kind(viz_return_value):
            self._kept.append(viz_return_value)  # or another object may get its identity
            self.object_id_to_task[id(viz_return_value)] = viz_task

    def calls_in(self, value: Any) -> list[VizTask]:
        """Return the calls whose results are in a value, at any depth, each once."""
        found: dict[int, VizTask] = {}
        inside: set[int] = set()

        def look(part: Any) -> Any:
            if isinstance(part, State) and part.is_completed():
                look(part.data)
                return part
            if isinstance(part, Annotation):
                look(part.value)
                return part
            call = part if isinstance(part, VizTask) else self.object_id_to_task.get(id(part))
            if call is None:
                return with_parts(part, look, inside)
            found.setdefault(id(call), call)
            return part

        look(value)
        return list(found.values())


def get_task_viz_tracker() -> TaskVizTracker | None:
    """Return the drawing that calls made here are noted in; None where they are executed."""
    return _tracker.get() if drawings else None


def track_viz_task(
    is_async: bool,
    task_name: str,
    parameters: Mapping[str, Any],
    viz_return_value: Any = None,
    wait_for: object = None,
) -> Any:
    """Note a call in the drawing that is going on.

    Args:
        is_async: Whether the caller awaits the result.
        task_name: The name of the task.
        parameters: Its arguments by name.
        viz_return_value: What the body gets as the result; None for a `VizTask`.
        wait_for: Results of further calls that come before.

    Returns:
        The result; for an async call a coroutine that returns it. None when nothing is being drawn.
    """
    if not is_async:
        return _noted(task_name, parameters, viz_return_value, wait_for)

    async def call() -> Any:
        return _noted(task_name, parameters, viz_return_value, wait_for)

    return call()


def _noted(name: str, parameters: Mapping[str, Any], viz_return_value: Any, wait_for: object) -> Any:
    tracker = get_task_viz_tracker()
    if tracker is None:
        return None
    task = VizTask(name, tracker.calls_in([list(parameters.values()), wait_for]))
    tracker.add_task(task)
    if viz_return_value is None:
        return task
    tracker.link_viz_return_value_to_viz_task(viz_return_value, task)
    return viz_return_value


def refuse_unsupported(method: str) -> None:
    """Refuse a call that a drawing cannot show, if one is going on here.

    Raises:
        VisualizationUnsupportedError: One is.
    """
    if get_task_viz_tracker() is not None:
        raise VisualizationUnsupportedError(
            f"`task.{method}()` is not currently supported by `flow.visualize()`: call tasks directly in the "
            "flow that is to be drawn"
        )


def build_mermaid_graph(task_run_tracker: TaskVizTracker) -> str:
    """Return a drawing as a Mermaid flowchart: text that GitHub, notebooks and others show as a graph."""
    ids = {id(task): f"n{number}" for number, task in enumerate(task_run_tracker.tasks)}
    lines = ["flowchart TD"]
    for task in task_run_tracker.tasks:
        lines.append(f'    {ids[id(task)]}["{_mermaid_text(task.name)}"]')
    for task in task_run_tracker.tasks:
        lines += [f"    {ids[id(one)]} --> {ids[id(task)]}" for one in task.upstream_tasks if id(one) in ids]
    return "\n".join(lines)


def build_task_dependencies(task_run_tracker: TaskVizTracker) -> Any:
    """Return a drawing as a `graphviz.Digraph`.

    Raises:
        GraphvizImportError: The Python package graphviz is not installed.
    """
    graph = _graphviz().Digraph()
    for task in task_run_tracker.tasks:
        graph.node(task.name)
        for upstream in task.upstream_tasks:
            graph.edge(upstream.name, task.name)
    return graph


def visualize_task_dependencies(graph: Any, flow_run_name: str) -> None:
    """Draw a graph into a PNG file of this name in the working directory, and open that.

    Args:
        graph: A `graphviz.Digraph`.
        flow_run_name: The name of the file, without `.png`.

    Raises:
        GraphvizExecutableNotFoundError: Graphviz is not installed, or is not on the PATH.
        FlowVisualizationError: It could not draw.
    """
    filename = flow_run_name.replace("/", "-").replace("\0", "-")
    graphviz = _graphviz()
    try:
        drawn = graph.render(filename=filename, format="png", cleanup=True)
    except graphviz.ExecutableNotFound as error:
        raise GraphvizExecutableNotFoundError(
            "Graphviz, whose program `dot` draws, is not installed, or is not on the PATH; install it from "
            "https://www.graphviz.org/download/ (the Python package graphviz alone is not enough), or use "
            "generate_mermaid_graph(), which needs neither"
        ) from error
    except Exception as error:  # of a library, and of the program that it calls
        raise FlowVisualizationError(f"'{filename}.png' could not be drawn: {error}") from error
    try:
        graphviz.view(drawn)
    except (OSError, RuntimeError) as error:
        logger.warning("%r was drawn, and nothing here opens it: %s", drawn, error)


def _graphviz() -> Any:
    """Import graphviz, which only drawing needs.

    Raises:
        GraphvizImportError: It is not installed.
    """
    from importlib import import_module

    try:
        return import_module("graphviz")
    except ImportError as error:
        raise GraphvizImportError(
            "the Python package graphviz is not installed: pip install 'taskyard[visualize]', and Graphviz "
            "itself; or use generate_mermaid_graph(), which needs neither"
        ) from error


def _mermaid_text(name: str) -> str:
    return " ".join(name.translate(_MERMAID).split())


_MERMAID: Final = str.maketrans({"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "&": "#amp;"})
"""What has a meaning in texts of Mermaid."""
_SHARED: Final = (bool, EllipsisType, NotImplementedType, type(None))


def _is_one_of_a_kind(value: Any) -> bool:
    """Say whether Python has one object for all equal ones, so that its identity says nothing."""
    if isinstance(value, _SHARED):
        return True
    if type(value) is int:
        return -5 <= value <= 256
    return type(value) in (str, bytes, tuple, frozenset) and len(value) == 0


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
