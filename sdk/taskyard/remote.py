"""Tasks that others serve under a name, in any language, called as tasks are."""

from collections.abc import Mapping
from typing import Any, Final, TypeVar, Unpack, overload

from taskyard import _durable_names
from taskyard._engine.definitions.decorated import Hook
from taskyard._engine.definitions.task_options import CallerOptions, TaskOptions, TaskSettings
from taskyard._engine.futures.typed import Reading
from taskyard.exceptions import ConfigurationError
from taskyard.tasks import Task
from taskyard.utilities.annotations import NotSet
from taskyard_contract.languages.encoding_names import JSON

__all__ = ["RemoteTask", "remote_task"]

T = TypeVar("T")


_OWN: Final = frozenset(CallerOptions.__annotations__)
_THEIRS: Final = frozenset(TaskOptions.__annotations__) - _OWN
"""Options of whoever executes the code, such as hooks; here they would do nothing."""


def _called(*args: Any, **kwargs: Any) -> Any:
    """Stand for a function that is elsewhere."""
    raise TypeError("a remote task has no function here; call the task itself")


class RemoteTask(Task[..., T]):
    """A task that others serve under its name. Arguments and results travel as JSON.

    Made by `remote_task`; called, submitted and mapped like any other task.
    """

    is_remote = True

    def __init__(self, name: str, *, result: Any = NotSet, **options: Unpack[CallerOptions]) -> None:
        """Stand for a task; see `remote_task`."""
        if not isinstance(name, str) or not name:
            raise TypeError(f"'name' must be the name that the task is served under, got {name!r}")
        _refuse_theirs(name, options)
        self._result = result
        self._configure(TaskSettings.of(_called, {"description": "", **options, "name": name}))

    def _own_reading(self, settings: TaskSettings) -> Reading:
        return Reading(settings.name, JSON, JSON, self._result)

    def with_options(self, **options: Unpack[TaskOptions]) -> "RemoteTask[T]":
        """Return a task of the same name, unless another one is given, with some options replaced."""
        _refuse_theirs(self.name, {name: value for name, value in options.items() if name != "name"})
        return self._with(options)

    def _add_hook(self, option: str, fn: Hook) -> Hook:
        _refuse_theirs(self.name, {option: fn})
        return super()._add_hook(option, fn)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as a name and options."""
        options = {name: value for name, value in self.settings.values().items() if name in _OWN}
        if self._result is not NotSet:
            options["result"] = self._result
        return _durable_names.remote_task, (self.name, options)


def _refuse_theirs(name: str, options: Mapping[str, object]) -> None:
    wrong = sorted(option for option, value in options.items() if option in _THEIRS and value is not None)
    if wrong:
        raise ConfigurationError(
            f"the remote task '{name}' cannot have the option '{wrong[0]}': it is for whoever serves the task"
        )


@overload
def remote_task(name: str, *, result: type[T], **options: Unpack[CallerOptions]) -> RemoteTask[T]: ...


@overload
def remote_task(name: str, *, result: Any = ..., **options: Unpack[CallerOptions]) -> RemoteTask[Any]: ...


def remote_task(name: str, *, result: Any = NotSet, **options: Unpack[CallerOptions]) -> RemoteTask[Any]:
    """Return a task that others serve under a name: an agent with ``--serve``, or a worker in another
    language.

    Arguments are free, positional and by keyword, and travel as JSON; futures may be among them, at any
    depth.

    Args:
        name: What the task is served under.
        result: The type that results are converted to, anything that pydantic reads; left out, they stay what
            JSON makes of them.
        **options: queue, retries, timeout_seconds and others, as for `task`, apart from those of whoever
            executes the code. Retries and timeouts are the caller's to say: the options of the task that is
            served do not count.

    Raises:
        ConfigurationError: An option is one of whoever serves the task, as hooks are.
        TypeError: An option has the wrong type.
        ValueError: An option is out of range.
    """
    return RemoteTask(name, result=result, **options)
