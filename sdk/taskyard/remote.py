"""Tasks that others serve under a name, in any language, called as tasks are."""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final, TypedDict, TypeVar, Unpack, overload

from taskyard import _durable_names
from taskyard._engine.definitions.option_checks import RetryDelays
from taskyard._engine.definitions.task_options import TaskOptions, TaskSettings
from taskyard._engine.futures.typed import Reading
from taskyard.cache_policies import CachePolicy
from taskyard.exceptions import ConfigurationError
from taskyard.tasks import Task
from taskyard.utilities.annotations import NotSet, NotSetType
from taskyard_contract.languages.encoding_names import JSON

__all__ = ["RemoteTask", "RemoteTaskOptions", "remote_task"]

T = TypeVar("T")


class RemoteTaskOptions(TypedDict, total=False):
    """All options of a remote task, for typed ``**kwargs``; what they mean, `taskyard.task` says."""

    description: str | None
    tags: Iterable[str] | None
    version: str | None
    queue: str
    agent_labels: Mapping[str, str] | None
    priority: int
    cache_policy: CachePolicy | NotSetType | None
    cache_key_fn: Callable[[Any, dict[str, Any]], str | None] | None
    cache_expiration: timedelta | None
    refresh_cache: bool | None
    task_run_name: str | Callable[..., str] | None
    retries: int | None
    retry_delay_seconds: RetryDelays
    retry_jitter_factor: float | None
    timeout_seconds: float | None
    heartbeat_timeout: float | None
    persist_result: bool | None
    result_storage_key: str | None


_OWN: Final = frozenset(RemoteTaskOptions.__annotations__)
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

    def __init__(self, name: str, *, result: Any = NotSet, **options: Unpack[RemoteTaskOptions]) -> None:
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
def remote_task(name: str, *, result: type[T], **options: Unpack[RemoteTaskOptions]) -> RemoteTask[T]: ...


@overload
def remote_task(name: str, *, result: Any = ..., **options: Unpack[RemoteTaskOptions]) -> RemoteTask[Any]: ...


def remote_task(name: str, *, result: Any = NotSet, **options: Unpack[RemoteTaskOptions]) -> RemoteTask[Any]:
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
