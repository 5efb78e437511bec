"""The names that pickles hold: code, failures, states and annotations are stored for years.

A pickle names functions and classes by module, and pickles lie in databases, in blob stores and in agents of
other releases. So this module is never renamed and nothing is ever removed from it; in exchange all private
rooms may be moved and renamed freely. Rules for what is here:

- functions take plain values (numbers, text, tuples, dicts, objects of the user's), never private classes;
- a function may get further arguments, with defaults that mean what their absence meant before;
- classes that users derived from one of these travel as themselves, as the argument `kind`;
- where the real thing lives is said once, in `_HOMES`, as text: this module stands below everything that is
  pickled, and an import would make a circle. It is imported when the first such pickle is read.

Classes and functions that users see are named by their public door (see `public`); those are as durable.
What release 0.1.0 named besides is in `_former_names`; the contract has `durable_names` of its own.
"""

from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any, Final, TypeVar, cast

from taskyard_contract.durable_names import exception as exception  # pickled under this name once

T = TypeVar("T")

_HOMES: Final[Mapping[str, tuple[str, str]]] = {
    "task_body": ("taskyard._engine.execution.task_body", "TaskBody"),
    "task": ("taskyard.tasks", "Task"),
    "remote_task": ("taskyard.remote", "RemoteTask"),
    "flow": ("taskyard.flows", "Flow"),
    "state": ("taskyard._data.runs.state", "State"),
    "task_run": ("taskyard._data.runs.records", "TaskRun"),
}
_RARE: Final[Mapping[str, tuple[str, str]]] = {
    "stored_result": ("taskyard._engine.results.stored", "value_of"),
    "undone": ("taskyard._engine.rollbacks.undone", "undone"),
    "rollback_begun": ("taskyard._engine.rollbacks.undone", "begun"),
}
"""What only few programs need, so that no worker imports it before it is named."""


def task_body(task: Any, log_prints: bool) -> Any:
    """Return the code of a task as a worker holds it."""
    return _home("task_body").arrived(task, log_prints)


def task(kind: type | None = None) -> Any:
    """Return a task without anything in it: its state follows, because a task may refer to itself."""
    return _empty("task", kind)


def remote_task(name: str, options: dict[str, Any]) -> Any:
    """Return what stands for a task that others serve under this name."""
    return _home("remote_task")(name, **options)


def flow(kind: type | None = None) -> Any:
    """Return a flow without anything in it; its state follows."""
    return _empty("flow", kind)


def state(state_type: str, parts: dict[str, Any], details: dict[str, Any], kind: Any | None = None) -> Any:
    """Return a state that was pickled: with a result, an argument or an exception."""
    return (kind or _home("state")).restored(state_type, parts, details)


def task_run(parts: dict[str, Any]) -> Any:
    """Return what user code saw of a task run."""
    return _home("task_run").restored(parts)


def stored_result(place: Any, what: Any, serializer: Any, writer: str = "") -> Any:
    """Return a result that is in storage of the user's: a place, a key and what wrote it, or the bytes."""
    return _home("stored_result")(place, what, serializer, writer)


def undone(parts: dict[str, Any]) -> Any:
    """Call a hook of a transaction whose flow run was lost: the code of the runs that wait for that."""
    return _home("undone")(parts)


def rollback_begun(parts: dict[str, Any]) -> Any:
    """Decide that such a transaction is rolled back: the code of the run that the others wait for."""
    return _home("rollback_begun")(parts)


def value(of: T) -> T:
    """Return the value itself: what an annotation without its wrapper unpickles through."""
    return of


def own_kind(name: str, of: object) -> tuple[type, ...]:
    """Return the class of a thing, for its pickle, if users derived it from the one that has this name."""
    kind = type(of)
    return () if kind is _home(name) else (kind,)


def public(door: str) -> Callable[[T], T]:
    """Make a decorator by which pickles and tracebacks name a door instead of the room behind it."""

    def name_door(of: T) -> T:
        cast(Any, of).__module__ = door
        return of

    return name_door


def preload() -> None:
    """Import everything that reading a pickle may need, once for all workers that are forked afterwards."""
    for name in _HOMES:
        _home(name)


@cache
def _home(name: str) -> Any:
    module, attribute = _HOMES.get(name) or _RARE[name]
    return getattr(import_module(module), attribute)


def _empty(name: str, kind: Any | None) -> Any:
    kind = kind or _home(name)
    return kind.__new__(kind)
