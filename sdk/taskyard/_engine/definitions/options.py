"""Options of tasks and flows: what both have in common.

Invariant: settings are checked when they are made and never change afterwards; `with_options` makes new
ones. The options as given are kept beside the normal forms, because some depend on each other (a
callable for delays is asked again when only `retries` is replaced).
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from taskyard import settings
from taskyard._engine.definitions.option_checks import (
    RESULT_ENCODINGS,
    RetryDelays,
    checked_function,
    checked_hooks,
    checked_result_encoding,
    checked_retries,
    checked_retry_delays,
    checked_timeout,
    checked_type,
    function_name,
)
from taskyard._missing_features import refuse_unknown_options
from taskyard.exceptions import ConfigurationError
from taskyard.utilities.annotations import NotSet

if TYPE_CHECKING:
    from taskyard._engine.results.plans import ResultPlan

Hooks = tuple[Callable[..., Any], ...]
HOOKS: Final = ("on_completion", "on_failure", "on_running")
"""The hooks that both have."""

_NONE_MEANS_KEEP: Final = frozenset(
    {"name", "description", "tags", "version", "cache_key_fn", "cache_expiration", "retry_condition_fn"}
    | {*HOOKS, "on_cancellation", "on_crashed", "on_commit", "on_rollback"}
    | {"asset_deps", "assets", "materialized_by"}
)
"""Options for which `with_options` takes None as "not given"; for all others None is a value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
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
    result_encoding: str = "pickle"
    """How results are written, as users say it."""
    result_storage: Any = None
    """Where results go: an absolute path, a URL or an object; None leaves them to the control plane."""
    result_serializer: Any = None
    """What writes them; None inherits it."""
    result_storage_key: str | None = None
    cache_result_in_memory: bool = True
    on_completion: Hooks = ()
    on_failure: Hooks = ()
    on_running: Hooks = ()

    def _normalise(self, hooks: Iterable[str]) -> None:
        """Check what is common and bring it into normal form."""
        checked_function(self.fn)
        for option in ("name", "description", "version"):
            checked_type(option, getattr(self, option), str, "a string")
        for option in ("log_prints", "persist_result", "cache_result_in_memory"):
            checked_type(option, getattr(self, option), bool, "True or False")
        checked_type("result_storage_key", self.result_storage_key, str, "a string")
        self._set(
            name=self.name or function_name(self.fn),
            description=self.description if self.description is not None else inspect.getdoc(self.fn),
            retries=checked_retries(self.retries),
            timeout_seconds=checked_timeout(self.timeout_seconds),
            result_encoding=checked_result_encoding(self.result_encoding),
            result_storage=self._checked_storage(),
            cache_result_in_memory=self.cache_result_in_memory is not False,
            **{option: checked_hooks(option, getattr(self, option)) for option in hooks},
        )
        self._set(retry_delays=checked_retry_delays(self.retry_delay_seconds, self.retries))

    def _checked_storage(self) -> Any:
        """Check where results go, and as what; most tasks do not say it."""
        if self.result_storage is None and self.result_serializer is None:
            return None
        from taskyard._engine.results.choosing import checked_storage
        from taskyard.serializers import serializer_of

        if self.result_encoding not in (None, "pickle"):
            raise ConfigurationError(
                f"{self.kind} '{self.name or function_name(self.fn)}' has result_encoding="
                f"'{self.result_encoding}' and result_storage or result_serializer; results that go into "
                "storage are written by the serializer, so choose one of the two"
            )
        if self.result_serializer is not None:
            serializer_of(self.result_serializer)
        return checked_storage(self.result_storage)

    @property
    def storing(self) -> Any:
        """Where results go; None leaves them to the control plane."""
        return self.result_storage

    @property
    def persists(self) -> bool | None:
        """Whether results are persisted: as it was said, or because other options mean it."""
        if self.persist_result is not None:
            return self.persist_result
        meant = (self.result_storage, self.result_serializer, self.result_storage_key)
        return True if any(option is not None for option in meant) else None

    @property
    def shown_retry_delays(self) -> float | list[float] | None:
        """The retry delays as users read them: one number as it was given, otherwise all of them."""
        if isinstance(self.retry_delay_seconds, (int, float)):
            return self.retry_delay_seconds
        return list(self.retry_delays) or None

    def result_plan(self, lifetime: timedelta | None = None) -> "ResultPlan | None":
        """Return what becomes of results; None for nothing that the control plane does not do by itself."""
        storage, serializer = self.storing, self.result_serializer
        if (storage is None and serializer is None) or self.persists is False:
            return None
        from taskyard._engine.results.plans import ResultPlan

        return ResultPlan(self.name, storage, serializer, self.result_storage_key, lifetime)

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def known(cls, options: dict[str, Any], name: str) -> dict[str, Any]:
        """Return the options of a task, or flow, of this name as given, if there are such options.

        Raises:
            TypeError: There is no such option.
        """
        return refuse_unknown_options(
            cls.kind, f"{cls.kind} '{name}'", options, list(cls.options.__annotations__)
        )

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
        said = {name: value for name, value in given.items() if value is not NotSet}
        if said.get("retries") is None and (retries := settings.default_retries(cls.kind)) is not None:
            said["retries"] = retries
        if said.get("retry_delay_seconds") is None:
            said["retry_delay_seconds"] = settings.default_retry_delay(cls.kind)
        return cls(fn=fn, **said)

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

    @property
    def wire_result_encoding(self) -> str:
        """The encoding of results for the wire; empty for that of arguments, which are pickles."""
        return RESULT_ENCODINGS[self.result_encoding]

    @property
    def retry_delays_ms(self) -> list[int]:
        """The delays before each retry in milliseconds, as templates carry them."""
        return [round(delay * 1000) for delay in self.retry_delays]
