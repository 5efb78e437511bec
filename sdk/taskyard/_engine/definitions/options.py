"""Options of tasks and flows: what both have in common.

Invariant: settings are checked when they are made and never change afterwards; `with_options` makes new
ones. The options as given are kept beside the normal forms, because some depend on each other (a
callable for delays is asked again when only `retries` is replaced).
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Final, Self

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
from taskyard.utilities.annotations import NotSet

Hooks = tuple[Callable[..., Any], ...]
HOOKS: Final = ("on_completion", "on_failure", "on_running")
"""The hooks that both have."""

_NONE_MEANS_KEEP: Final = frozenset(
    {"name", "description", "tags", "version", "cache_key_fn", "cache_expiration", "retry_condition_fn"}
    | {*HOOKS, "on_cancellation", "on_crashed"}
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
            result_encoding=checked_result_encoding(self.result_encoding),
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

    @property
    def wire_result_encoding(self) -> str:
        """The encoding of results for the wire; empty for that of arguments, which are pickles."""
        return RESULT_ENCODINGS[self.result_encoding]

    @property
    def retry_delays_ms(self) -> list[int]:
        """The delays before each retry in milliseconds, as templates carry them."""
        return [round(delay * 1000) for delay in self.retry_delays]
