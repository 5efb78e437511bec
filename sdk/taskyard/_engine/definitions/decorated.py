"""The face that decorated functions have in common: hooks, binding to instances, copies, what is missing."""

import copy
import inspect
from collections.abc import Callable, Mapping
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, ParamSpec, Self, TypeVar, cast

from taskyard._engine.definitions.option_checks import given_function
from taskyard._engine.definitions.options import Settings
from taskyard._engine.definitions.signatures import CallSignature
from taskyard._missing_features import explain_attribute

P = ParamSpec("P")
R = TypeVar("R", covariant=True)
"""Covariant: a checker's own type of coroutines is one of `Coroutine`."""
S = TypeVar("S", bound=Settings)
Hook = TypeVar("Hook", bound=Callable[..., Any])


MOST_HEIRS: Final = 64
"""What a program may inherit from at once without it being looked at anew for each call."""


class Decorated(Generic[P, R, S]):
    """A function with options.

    Invariant: it never changes after it was made, apart from hooks that are added while its module is being
    executed; `with_options` and binding to an instance make others.
    """

    kind: ClassVar[str]
    """What users call it: "task" or "flow"."""
    settings: S
    fn: Callable[P, R]
    name: str

    isclassmethod = False
    isstaticmethod = False

    def _configure(self, settings: S) -> None:
        """Compute what all calls have in common: signature, names, what is asynchronous."""
        fn = settings.fn
        self.settings = settings
        self.fn = fn
        self.name = settings.name
        self.description = settings.description
        self.version = settings.version
        self.retries = settings.retries
        self.retry_delay_seconds = settings.shown_retry_delays
        self.timeout_seconds = settings.timeout_seconds
        self.log_prints = settings.log_prints
        self.persist_result = settings.persist_result
        self.result_storage = settings.result_storage
        self.result_serializer = settings.result_serializer
        self.result_storage_key = settings.result_storage_key
        self.cache_result_in_memory = settings.cache_result_in_memory
        update_wrapper(cast("Callable[..., Any]", self), fn, updated=())
        self.signature = CallSignature(fn)
        self.isasync = inspect.iscoroutinefunction(fn) or inspect.isasyncgenfunction(fn)
        self.isgenerator = inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn)
        self.on_completion_hooks = list(settings.on_completion)
        self.on_failure_hooks = list(settings.on_failure)
        self.on_running_hooks = list(settings.on_running)
        self.forget_templates()

    def forget_templates(self) -> None:
        """Let runs get new templates. What is kept here belongs to whoever submits runs."""
        self.templates: dict[Any, Any] = {}
        self._heirs: dict[Any, Self] = {}
        self.latest_group: tuple[object, object, object, Any] = (None, None, None, None)

    @property
    def prefix(self) -> tuple[Any, ...]:
        """The instance, or the class, that it is bound to: the first argument of its calls."""
        return self._prefix

    _prefix: tuple[Any, ...] = ()

    @property
    def ismethod(self) -> bool:
        """Whether it is bound to an instance, or to a class."""
        return bool(self._prefix)

    def _function_of(self, fn: Any) -> Callable[P, R]:
        """Return the function to decorate; of what `classmethod` or `staticmethod` made, the one in there.

        Raises:
            TypeError: It cannot be called.
        """
        method: Any = given_function(self.kind, fn)
        self.isclassmethod = isinstance(method, classmethod)
        self.isstaticmethod = isinstance(method, staticmethod)
        wrapped = self.isclassmethod or self.isstaticmethod
        return cast("Callable[P, R]", method.__func__ if wrapped else method)

    def on_completion(self, fn: Hook) -> Hook:
        """Add a hook ``(task or flow, run, state)``, called when a run has completed. A decorator."""
        return self._add_hook("on_completion", fn)

    def on_failure(self, fn: Hook) -> Hook:
        """Add a hook ``(task or flow, run, state)``, called when a run has failed for good. A decorator."""
        return self._add_hook("on_failure", fn)

    def on_running(self, fn: Hook) -> Hook:
        """Add a hook ``(task or flow, run, state)``, called when an attempt starts. A decorator."""
        return self._add_hook("on_running", fn)

    def _add_hook(self, option: str, fn: Hook) -> Hook:
        hooks = (*getattr(self.settings, option), fn)
        self._configure(self.settings.with_options({option: hooks}))
        return fn

    def inheriting(self, inherited: Any) -> Self:
        """Return the same with options about results that it inherits: itself, where it says all of them."""
        heir = self._heirs.get(inherited)
        return heir or self._heir(inherited, lambda: self._inheriting(inherited))

    def _inheriting(self, inherited: Any) -> Self:
        options = inherited.options_for(self.settings)
        return self._with(options) if options else self

    def _heir(self, of: Any, made: Callable[[], Self]) -> Self:
        """Return what stands for this one where something is inherited; made once for the same."""
        heir = self._heirs.get(of)
        if heir is None:
            if len(self._heirs) >= MOST_HEIRS:
                self._heirs.clear()
            heir = self._heirs[of] = made()
        return heir

    def _with(self, options: Mapping[str, Any]) -> Self:
        """Return the same with some options replaced."""
        other = copy.copy(self)
        other._configure(self.settings.with_options(options))
        return other

    def __get__(self, instance: Any, owner: type | None = None) -> Self:
        """Bind to an instance, or to a class for a class method."""
        bound = owner if self.isclassmethod else instance
        if bound is None or self.isstaticmethod:
            return self
        other = copy.copy(self)
        other._prefix = (bound,)
        return other

    def __copy__(self) -> Self:
        """Return the same with templates of its own: what it is bound to is part of its code."""
        other = self.__class__.__new__(self.__class__)
        other.__dict__.update(self.__dict__)
        other.forget_templates()
        return other

    if not TYPE_CHECKING:  # type checkers would stop checking names of attributes

        def __getattr__(self, name: str) -> Any:
            """Explain what is not there, in particular what it has in Prefect."""
            return explain_attribute(self.kind, self, name)

    def __repr__(self) -> str:
        return f"<{self.kind.title()} '{self.name}'>"
