"""The options of tasks, as users write them and as the engine keeps them."""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar, Final, Literal, TypedDict

from taskyard._data.runs.transactions import IsolationLevel
from taskyard._data.values.hashing import source_code
from taskyard._engine.definitions.option_checks import (
    RetryDelays,
    checked_callable,
    checked_expiration,
    checked_jitter,
    checked_labels,
    checked_priority,
    checked_run_name,
    checked_tags,
    checked_timeout,
    checked_type,
)
from taskyard._engine.definitions.options import HOOKS, Hooks, Settings
from taskyard.cache_policies import DEFAULT, NO_CACHE, CacheKeyFnPolicy, CachePolicy, StorageKeyPolicy
from taskyard.exceptions import ConfigurationError
from taskyard.utilities.annotations import NotSet, NotSetType

logger: Final = logging.getLogger("taskyard.tasks")
TRANSACTION_HOOKS: Final = ("on_commit", "on_rollback")
"""The hooks that only tasks have: each run of one is a transaction, a flow run is none."""


class CallerOptions(TypedDict, total=False):
    """Options of a task that whoever calls it decides, wherever its code is."""

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


class TaskOptions(CallerOptions, total=False):
    """All options of a task, for typed ``**kwargs``."""

    name: str | None
    retry_condition_fn: Callable[..., Any] | None
    log_prints: bool | None
    result_encoding: Literal["pickle", "json", "bytes"] | None
    result_storage: Any
    result_serializer: Any
    cache_result_in_memory: bool | None
    on_completion: Iterable[Callable[..., Any]] | None
    on_failure: Iterable[Callable[..., Any]] | None
    on_running: Iterable[Callable[..., Any]] | None
    on_commit: Iterable[Callable[..., Any]] | None
    on_rollback: Iterable[Callable[..., Any]] | None
    viz_return_value: Any
    asset_deps: Iterable[Any] | None


class MaterializingOptions(TaskOptions, total=False):
    """Those of a task that materializes assets."""

    assets: Iterable[Any] | None
    materialized_by: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSettings(Settings):
    """Options of a task in their normal form."""

    kind: ClassVar[str] = "task"
    options: ClassVar[type] = TaskOptions

    tags: frozenset[str] = frozenset()
    queue: str = "default"
    agent_labels: Mapping[str, str] | None = None
    priority: int = 0
    cache_policy: CachePolicy | NotSetType | None = NotSet
    cache_key_fn: Callable[[Any, dict[str, Any]], str | None] | None = None
    cache_expiration: timedelta | None = None
    refresh_cache: bool | None = None
    task_run_name: str | Callable[..., str] | None = None
    retry_jitter_factor: float = 0.0
    retry_condition_fn: Callable[..., Any] | None = None
    heartbeat_timeout: float | None = None
    viz_return_value: Any = None
    on_commit: Hooks = ()
    on_rollback: Hooks = ()
    asset_deps: Any = ()
    """The assets that runs need, beside those of their arguments."""
    caching: CachePolicy | None = field(init=False, default=None)
    """What makes cache keys, after all options are weighed; None: runs are not cached."""
    key_storage: Any = field(init=False, default=None)
    """Where the cache policy says that records are kept."""
    source_code: str = field(init=False, default="", repr=False)
    """The function's source, kept when cache keys depend on it."""

    def __post_init__(self) -> None:
        self._normalise((*HOOKS, *TRANSACTION_HOOKS))
        checked_type("refresh_cache", self.refresh_cache, bool, "True or False")
        checked_type("queue", self.queue or None, str, "the name of a queue")
        if self.cache_policy is not NotSet:
            checked_type(
                "cache_policy", self.cache_policy, CachePolicy, "a policy of taskyard.cache_policies"
            )
        self._set(
            tags=checked_tags(self.tags),
            queue=self.queue or "default",
            priority=checked_priority(self.priority),
            agent_labels=checked_labels(self.agent_labels),
            cache_expiration=checked_expiration(self.cache_expiration),
            retry_jitter_factor=checked_jitter(self.retry_jitter_factor),
            task_run_name=checked_run_name("task_run_name", self.task_run_name),
            heartbeat_timeout=checked_timeout(self.heartbeat_timeout, "heartbeat_timeout"),
        )
        if self.asset_deps is None:
            self._set(asset_deps=())
        elif self.asset_deps != ():
            self._set(asset_deps=_assets("asset_deps", self.asset_deps))
        checked_callable("cache_key_fn", self.cache_key_fn)
        checked_callable("retry_condition_fn", self.retry_condition_fn)
        self._set(caching=self._effective_policy())
        if self.caching is not None and self.caching.needs_source:
            self._set(source_code=source_code(self.fn))
        if self.caching is not None and self.caching.configuration():
            self._heed(self.caching)

    def _heed(self, policy: CachePolicy) -> None:
        """Take what a cache policy says of records and locks.

        Raises:
            ConfigurationError: It wants a lock and has no lock manager, or records in two places.
        """
        if policy.isolation_level == IsolationLevel.SERIALIZABLE and policy.lock_manager is None:
            raise ConfigurationError(
                f"the cache policy of task '{self.name}' has the isolation level SERIALIZABLE and no lock"
                " manager; write policy.configure(isolation_level=..., lock_manager=...), or leave the level"
                " out: the control plane lets one of all runs with the same key run at a time anyway"
            )
        if policy.key_storage is None:
            return
        from taskyard._engine.results.choosing import checked_storage

        self._set(key_storage=checked_storage(policy.key_storage))
        if self.result_encoding != "pickle":
            raise ConfigurationError(
                f"task '{self.name}' has result_encoding='{self.result_encoding}' and a cache policy with"
                " key_storage, whose records the serializer writes; leave one out"
            )
        if self.result_storage not in (None, self.key_storage):
            raise ConfigurationError(
                f"task '{self.name}' has result_storage={self.result_storage!r} and a cache policy with "
                f"key_storage={self.key_storage!r}; a record holds its key and its value, so leave one out"
            )

    def _effective_policy(self) -> CachePolicy | None:
        """Decide what makes cache keys, by precedence; None when nothing does."""
        policy = self.cache_policy if isinstance(self.cache_policy, CachePolicy) else None
        chosen = policy
        if self.cache_key_fn is not None:
            chosen = CacheKeyFnPolicy(self.cache_key_fn)
        elif self.cache_policy is NotSet and self.result_storage_key is not None:
            chosen = StorageKeyPolicy(self.result_storage_key)
        elif self.cache_policy is NotSet and self.persists:
            chosen = DEFAULT
        if chosen is None or chosen == NO_CACHE:
            return None
        if self.persist_result is False:
            logger.warning("task '%s' is not cached, because it has persist_result=False", self.name)
            return None
        if chosen is not policy and policy is not None:
            logger.warning("task '%s' has cache_key_fn and cache_policy; cache_key_fn is used", self.name)
        return chosen

    @property
    def persists(self) -> bool | None:
        """Whether results are persisted: as it was said, or because other options mean it."""
        said = Settings.persists.fget(self)  # type: ignore[attr-defined]  # dataclasses with slots know no super()
        if said is None and (self.cache_key_fn is not None or isinstance(self.cache_policy, CachePolicy)):
            return True if self.cache_policy != NO_CACHE or self.cache_key_fn is not None else None
        return bool(said) if said is not None else None

    @property
    def storing(self) -> Any:
        """Where results go: as it was said, or as the cache policy says it."""
        return self.key_storage if self.result_storage is None else self.result_storage

    @property
    def timeout_ms(self) -> int:
        """The timeout for the wire; 0 means none."""
        return _milliseconds(self.timeout_seconds)

    @property
    def heartbeat_timeout_ms(self) -> int:
        """How long an attempt may be silent, for the wire; 0 means for ever."""
        return _milliseconds(self.heartbeat_timeout)

    @property
    def cache_expiration_ms(self) -> int:
        """The expiration for the wire, where 0 means never: one that has passed already becomes 1."""
        if self.cache_expiration is None:
            return 0
        return max(1, round(self.cache_expiration.total_seconds() * 1000))


@dataclass(frozen=True, kw_only=True, slots=True)
class MaterializingSettings(TaskSettings):
    """Options of a task that materializes assets."""

    options: ClassVar[type] = MaterializingOptions

    assets: Any = ()
    """What its runs make."""
    materialized_by: str | None = None
    """The tool that does it, for people."""

    def __post_init__(self) -> None:
        TaskSettings.__post_init__(self)  # dataclasses with slots know no super()
        checked_type("materialized_by", self.materialized_by, str, "the name of a tool")
        self._set(assets=_assets("assets", self.assets))
        if not self.assets:
            raise TypeError(
                f"task '{self.name}': materialize requires at least one asset argument, as in"
                ' @materialize("s3://bucket/orders.csv")'
            )


def _assets(option: str, given: Any) -> tuple[Any, ...]:
    from taskyard._engine.assets.asset import checked_assets  # few tasks have any

    return checked_assets(option, given)


def _milliseconds(seconds: float | None) -> int:
    return max(1, round(seconds * 1000)) if seconds else 0
