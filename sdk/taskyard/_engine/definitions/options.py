"""Options of tasks and flows: as users write them, and as the engine stores them.

Invariant: settings are checked when they are made and never change afterwards; `with_options` makes new
ones. The options as given are kept beside the normal forms, because some depend on each other (a
callable for delays is asked again when only `retries` is replaced).
"""

import inspect
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from typing import Any, ClassVar, Final, Literal, Self, TypedDict

from taskyard._data.values.hashing import source_code
from taskyard._engine.definitions.option_checks import (
    RetryDelays,
    checked_callable,
    checked_expiration,
    checked_function,
    checked_hooks,
    checked_jitter,
    checked_retries,
    checked_retry_delays,
    checked_run_name,
    checked_tags,
    checked_timeout,
    checked_type,
    exponential_backoff,
    function_name,
)
from taskyard._missing_features import refuse_unknown_options
from taskyard.cache_policies import DEFAULT, NO_CACHE, CacheKeyFnPolicy, CachePolicy, StorageKeyPolicy
from taskyard.exceptions import ConfigurationError
from taskyard.utilities.annotations import NotSet, NotSetType

__all__ = [
    "FlowOptions",
    "FlowSettings",
    "NotSet",
    "NotSetType",
    "TaskOptions",
    "TaskSettings",
    "exponential_backoff",
]

_logger: Final = logging.getLogger("taskyard.tasks")

Hooks = tuple[Callable[..., Any], ...]
TASK_HOOKS: Final = ("on_completion", "on_failure", "on_running")
FLOW_HOOKS: Final = ("on_completion", "on_failure", "on_cancellation", "on_crashed", "on_running")

_NONE_MEANS_KEEP: Final = frozenset(
    {"name", "description", "tags", "version", "cache_key_fn", "cache_expiration", "retry_condition_fn"}
    | set(TASK_HOOKS)
    | set(FLOW_HOOKS)
)
"""Options for which `with_options` takes None as "not given"; for all others None is a value."""


class TaskOptions(TypedDict, total=False):
    """All options of a task, for typed ``**kwargs``."""

    name: str | None
    description: str | None
    tags: Iterable[str] | None
    version: str | None
    queue: str
    priority: int
    cache_policy: CachePolicy | NotSetType | None
    cache_key_fn: Callable[[Any, dict[str, Any]], str | None] | None
    cache_expiration: timedelta | None
    refresh_cache: bool | None
    task_run_name: str | Callable[..., str] | None
    retries: int | None
    retry_delay_seconds: RetryDelays
    retry_jitter_factor: float | None
    retry_condition_fn: Callable[..., Any] | None
    timeout_seconds: float | None
    log_prints: bool | None
    persist_result: bool | None
    result_storage_key: str | None
    on_completion: Iterable[Callable[..., Any]] | None
    on_failure: Iterable[Callable[..., Any]] | None
    on_running: Iterable[Callable[..., Any]] | None
    viz_return_value: Any


class FlowOptions(TypedDict, total=False):
    """All options of a flow, for typed ``**kwargs``."""

    name: str | None
    description: str | None
    version: str | None
    flow_run_name: str | Callable[..., str] | None
    retries: int | None
    retry_delay_seconds: RetryDelays
    timeout_seconds: float | None
    task_runner: Any
    validate_parameters: bool
    log_prints: bool | None
    persist_result: bool | None
    final_state: Literal["returned", "all"]
    on_completion: Iterable[Callable[..., Any]] | None
    on_failure: Iterable[Callable[..., Any]] | None
    on_cancellation: Iterable[Callable[..., Any]] | None
    on_crashed: Iterable[Callable[..., Any]] | None
    on_running: Iterable[Callable[..., Any]] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Settings:
    """What tasks and flows have in common."""

    kind: ClassVar[str]
    options: ClassVar[type]
    """The names of all options, as a typed dict."""

    fn: Callable[..., Any] = field(repr=False)
    name: str = ""
    description: str | None = None
    version: str | None = None
    retries: int = 0
    retry_delay_seconds: RetryDelays = None
    retry_delays: tuple[float, ...] = field(init=False, default=())
    timeout_seconds: float | None = None
    log_prints: bool | None = None
    persist_result: bool | None = None
    on_completion: Hooks = ()
    on_failure: Hooks = ()
    on_running: Hooks = ()

    def _normalise(self, hooks: Iterable[str]) -> None:
        """Check what is common and bring it into normal form."""
        checked_function(self.fn)
        for option in ("name", "description", "version"):
            checked_type(option, getattr(self, option), str, "a string")
        for option in ("log_prints", "persist_result"):
            checked_type(option, getattr(self, option), bool, "True or False")
        self._set(
            name=self.name or function_name(self.fn),
            description=self.description if self.description is not None else inspect.getdoc(self.fn),
            retries=checked_retries(self.retries),
            timeout_seconds=checked_timeout(self.timeout_seconds),
            **{option: checked_hooks(option, getattr(self, option)) for option in hooks},
        )
        self._set(retry_delays=checked_retry_delays(self.retry_delay_seconds, self.retries))

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def known(cls, options: dict[str, Any], name: str) -> dict[str, Any]:
        """Return the options of a task, or flow, of this name as given, if there are such options.

        Raises:
            TypeError: There is no such option.
        """
        return refuse_unknown_options(f"{cls.kind} '{name}'", options, list(cls.options.__annotations__))

    def values(self) -> dict[str, Any]:
        """Return the fields that are not as by default, by name: what pickles hold."""
        return {
            one.name: getattr(self, one.name)
            for one in fields(self)
            if getattr(self, one.name) is not one.default
        }

    @classmethod
    def restored(cls, values: Mapping[str, Any]) -> Self:
        """Return settings that were checked where they were made; what they lack is as by default."""
        settings = object.__new__(cls)
        settings._set(**{one.name: values.get(one.name, one.default) for one in fields(cls)})
        return settings

    @classmethod
    def of(cls, fn: Callable[..., Any], options: Mapping[str, Any]) -> Self:
        """Return the settings of a function that is decorated with these options.

        Raises:
            TypeError: There is no such option, or its value has the wrong type.
            ValueError: An option's value is out of range.
        """
        given = cls.known(dict(options), function_name(fn))
        return cls(fn=fn, **{name: value for name, value in given.items() if value is not NotSet})

    def with_options(self, options: Mapping[str, Any]) -> Self:
        """Return settings with some options replaced; `NotSet`, and None for some, keeps the old one.

        Raises:
            TypeError: There is no such option, or its value has the wrong type.
            ValueError: An option's value is out of range.
        """
        given = {
            name: value
            for name, value in self.known(dict(options), self.name).items()
            if value is not NotSet and not (value is None and name in _NONE_MEANS_KEEP)
        }
        return replace(self, **given)


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSettings(_Settings):
    """Options of a task in their normal form."""

    kind: ClassVar[str] = "task"
    options: ClassVar[type] = TaskOptions

    tags: frozenset[str] = frozenset()
    queue: str = "default"
    priority: int = 0
    cache_policy: CachePolicy | NotSetType | None = NotSet
    cache_key_fn: Callable[[Any, dict[str, Any]], str | None] | None = None
    cache_expiration: timedelta | None = None
    refresh_cache: bool | None = None
    task_run_name: str | Callable[..., str] | None = None
    retry_jitter_factor: float = 0.0
    retry_condition_fn: Callable[..., Any] | None = None
    result_storage_key: str | None = None
    viz_return_value: Any = None
    caching: CachePolicy | None = field(init=False, default=None)
    """What makes cache keys, after all options are weighed; None: runs are not cached."""
    source_code: str = field(init=False, default="", repr=False)
    """The function's source, kept when cache keys depend on it."""

    def __post_init__(self) -> None:
        """Check the options."""
        self._normalise(TASK_HOOKS)
        checked_type("refresh_cache", self.refresh_cache, bool, "True or False")
        checked_type("result_storage_key", self.result_storage_key, str, "a string")
        checked_type("queue", self.queue or None, str, "the name of a queue")
        checked_type("priority", self.priority, int, "an int")
        if self.cache_policy is not NotSet:
            checked_type(
                "cache_policy", self.cache_policy, CachePolicy, "a policy of taskyard.cache_policies"
            )
        self._set(
            tags=checked_tags(self.tags),
            queue=self.queue or "default",
            cache_expiration=checked_expiration(self.cache_expiration),
            retry_jitter_factor=checked_jitter(self.retry_jitter_factor),
            task_run_name=checked_run_name("task_run_name", self.task_run_name),
        )
        checked_callable("cache_key_fn", self.cache_key_fn)
        checked_callable("retry_condition_fn", self.retry_condition_fn)
        self._set(caching=self._effective_policy())
        if self.caching is not None and self.caching.needs_source:
            self._set(source_code=source_code(self.fn))

    def _effective_policy(self) -> CachePolicy | None:
        """Decide what makes cache keys, by precedence; None when nothing does."""
        policy = self.cache_policy if isinstance(self.cache_policy, CachePolicy) else None
        chosen = policy
        if self.cache_key_fn is not None:
            chosen = CacheKeyFnPolicy(self.cache_key_fn)
        elif self.cache_policy is NotSet and self.result_storage_key is not None:
            chosen = StorageKeyPolicy(self.result_storage_key)
        elif self.cache_policy is NotSet and self.persist_result:
            chosen = DEFAULT
        if chosen is None or chosen == NO_CACHE:
            return None
        if self.persist_result is False:
            _logger.warning("task '%s' is not cached, because it has persist_result=False", self.name)
            return None
        if chosen is not policy and policy is not None:
            _logger.warning("task '%s' has cache_key_fn and cache_policy; cache_key_fn is used", self.name)
        return chosen

    @property
    def shown_retry_delays(self) -> float | list[float] | None:
        """The retry delays as users read them: one number as it was given, otherwise all of them."""
        if isinstance(self.retry_delay_seconds, (int, float)):
            return self.retry_delay_seconds
        return list(self.retry_delays) or None

    @property
    def timeout_ms(self) -> int:
        """The timeout for the wire; 0 means none."""
        return max(1, round(self.timeout_seconds * 1000)) if self.timeout_seconds else 0

    @property
    def retry_delays_ms(self) -> list[int]:
        """The retry delays for the wire."""
        return [round(delay * 1000) for delay in self.retry_delays]

    @property
    def cache_expiration_ms(self) -> int:
        """The expiration for the wire, where 0 means never: one that has passed already becomes 1."""
        if self.cache_expiration is None:
            return 0
        return max(1, round(self.cache_expiration.total_seconds() * 1000))


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowSettings(_Settings):
    """Options of a flow in their normal form."""

    kind: ClassVar[str] = "flow"
    options: ClassVar[type] = FlowOptions

    flow_run_name: str | Callable[..., str] | None = None
    task_runner: Any = None
    validate_parameters: bool = True
    final_state: Literal["returned", "all"] = "returned"
    on_cancellation: Hooks = ()
    on_crashed: Hooks = ()

    def __post_init__(self) -> None:
        """Check the options."""
        self._normalise(FLOW_HOOKS)
        checked_type("validate_parameters", self.validate_parameters, bool, "True or False")
        checked_run_name("flow_run_name", self.flow_run_name)
        if self.final_state not in ("returned", "all"):
            raise ConfigurationError(
                f"flow '{self.name}' has final_state={self.final_state!r}; expected 'returned' (what the "
                "flow returns decides) or 'all' (with nothing returned, all its runs decide)"
            )

    @property
    def retry_delays_ms(self) -> list[int]:
        """The retry delays for the wire."""
        return [round(delay * 1000) for delay in self.retry_delays]
