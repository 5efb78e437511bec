"""Cache policies: which parts of a call make up its cache key.

Policies are values: they compare, add up (``INPUTS + TASK_SOURCE``) and leave parameters out
(``INPUTS - "session"``). A policy only computes a key; whether a run with that key exists is the control
plane's business. A key of None means: do not cache this run.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar

from taskyard._data.runs.transactions import IsolationLevel
from taskyard._data.values.hashing import code_fingerprint, hash_objects
from taskyard._missing_features import absent_names
from taskyard.exceptions import HashError

if TYPE_CHECKING:
    from taskyard.context import TaskRunContext
    from taskyard.locking.protocol import LockManager

__all__ = [
    "CachePolicy",
    "CacheKeyFnPolicy",
    "CompoundCachePolicy",
    "FlowParameters",
    "Inputs",
    "NoCache",
    "RunId",
    "StorageKeyPolicy",
    "TaskSource",
    "DEFAULT",
    "FLOW_PARAMETERS",
    "INPUTS",
    "NONE",
    "NO_CACHE",
    "RUN_ID",
    "TASK_SOURCE",
]

Values = Mapping[str, Any]
Q = TypeVar("Q", bound="CachePolicy")
NO_PARAMETERS: Final[Values] = MappingProxyType({})
_CONFIGURED: Final = ("key_storage", "isolation_level", "lock_manager")
"""What `CachePolicy.configure` sets."""


class CachePolicy(ABC):
    """Decides what makes two runs of a task the same: it computes the key of each."""

    needs_source: ClassVar[bool] = False
    """Whether the task's source must be captured where it is defined."""
    of_inputs_alone: ClassVar[bool] = False
    """Whether keys are made of parameters, and of nothing that tells one task from another."""
    key_storage: Any = None
    isolation_level: "IsolationLevel | None" = None
    lock_manager: "LockManager | None" = None

    def configure(
        self,
        key_storage: Any = None,
        lock_manager: "LockManager | None" = None,
        isolation_level: IsolationLevel | str | None = None,
    ) -> Self:
        """Return the same policy with more said of its records; what is None stays as it is.

        Args:
            key_storage: Where records are kept, values included: a path, a URL or an object, as
                `result_storage`. By default the control plane keeps them.
            lock_manager: What SERIALIZABLE asks for. The control plane lets one of all runs with the same
                key run at a time without it; it is not asked for task runs.
            isolation_level: SERIALIZABLE needs a lock manager, which a task is refused without.

        Raises:
            ValueError: There is no such isolation level.
        """
        level = None if isolation_level is None else IsolationLevel(isolation_level)
        return _with(
            self, {"key_storage": key_storage, "isolation_level": level, "lock_manager": lock_manager}
        )

    def configuration(self) -> dict[str, Any]:
        """Return what `configure` has set, by name."""
        said = ((name, getattr(self, name)) for name in _CONFIGURED)
        return {name: value for name, value in said if value is not None}

    def __getstate__(self) -> dict[str, Any]:
        """Travel without locks, which belong to a process, and without what asks for them."""
        own = self.__dict__.items()
        return {name: value for name, value in own if name not in ("isolation_level", "lock_manager")}

    @abstractmethod
    def compute_key(
        self, task_ctx: "TaskRunContext", inputs: Values, flow_parameters: Values | None = NO_PARAMETERS
    ) -> str | None:
        """Return the key of one run, or None for none.

        Args:
            task_ctx: The task run.
            inputs: Its parameters by name.
            flow_parameters: Those of its flow run; None where they are not known.

        Raises:
            ValueError: A key that the policy wants cannot be computed.
        """

    @classmethod
    def from_cache_key_fn(
        cls, cache_key_fn: "Callable[[TaskRunContext, dict[str, Any]], str | None]"
    ) -> "CacheKeyFnPolicy":
        """Make a policy of a function."""
        return CacheKeyFnPolicy(cache_key_fn)

    def __add__(self, other: "CachePolicy") -> "CachePolicy":
        """Combine: keys are equal when both parts are.

        Raises:
            ValueError: They say different things of storage, isolation or locks.
        """
        if not isinstance(other, CachePolicy):
            return NotImplemented
        said = _agreed(self, other)
        if isinstance(other, NoCache):
            return _with(self, said)
        return _with(CompoundCachePolicy((*_parts(self), *_parts(other))), said)

    def __sub__(self, parameter: str) -> "CachePolicy":
        """Leave a parameter out of the inputs; policies without inputs stay as they are."""
        _require_name(parameter)
        return self


@dataclass(frozen=True)
class CacheKeyFnPolicy(CachePolicy):
    """The key is what a function of the user returns."""

    cache_key_fn: "Callable[[TaskRunContext, dict[str, Any]], str | None]"

    def compute_key(
        self, task_ctx: "TaskRunContext", inputs: Values, flow_parameters: Values | None = NO_PARAMETERS
    ) -> str | None:
        """Return what the function says; an empty string counts as None."""
        key = self.cache_key_fn(task_ctx, dict(inputs))
        if key is not None and not isinstance(key, str):
            raise ValueError(f"a cache_key_fn must return a string or None, got {type(key).__name__}")
        return key or None


@dataclass(frozen=True)
class StorageKeyPolicy(CachePolicy):
    """The key is a template, filled with parameters and with what `taskyard.runtime` knows."""

    template: str

    def compute_key(
        self, task_ctx: "TaskRunContext", inputs: Values, flow_parameters: Values | None = NO_PARAMETERS
    ) -> str | None:
        """Fill the template, with `taskyard.runtime` telling of the run whose key it is."""
        from taskyard import runtime
        from taskyard.context import TaskRunContext

        with TaskRunContext(task_ctx.task, task_ctx.task_run, inputs):
            return self.template.format(
                parameters=inputs, task_run=runtime.task_run, flow_run=runtime.flow_run
            )


@dataclass(frozen=True)
class NoCache(CachePolicy):
    """No key, ever: every run is executed."""

    def compute_key(
        self, task_ctx: "TaskRunContext", inputs: Values, flow_parameters: Values | None = NO_PARAMETERS
    ) -> None:
        """Return None, whatever the inputs are."""
        return

    def __add__(self, other: CachePolicy) -> CachePolicy:
        """Return the other policy: adding nothing changes nothing."""
        return _with(other, _agreed(self, other))


@dataclass(frozen=True)
class Inputs(CachePolicy):
    """The key is made of the task's parameters.

    Alone, it says nothing of the task: different tasks with equal parameters share results. With TASK_SOURCE
    each has its own.
    """

    exclude: frozenset[str] = frozenset()
    of_inputs_alone = True

    def compute_key(
        self, task_ctx: "TaskRunContext", inputs: Values, flow_parameters: Values | None = NO_PARAMETERS
    ) -> str | None:
        """Hash the parameters by name."""
        if not inputs:
            return None
        kept = {name: value for name, value in inputs.items() if name not in self.exclude}
        try:
            return hash_objects(kept, raise_on_failure=True)
        except HashError as error:
            name = next((name for name, value in kept.items() if hash_objects(value) is None), "name")
            raise ValueError(
                f"{error}. To cache this task anyway, leave the parameter out with INPUTS - '{name}', or "
                "pass a cache_key_fn; to stop trying, pass cache_policy=NO_CACHE"
            ) from error

    def __sub__(self, parameter: str) -> "Inputs":
        """Leave a parameter out, so that runs which differ in it alone share a result."""
        return _with(Inputs(self.exclude | {_require_name(parameter)}), self.configuration())


@dataclass(frozen=True)
class TaskSource(CachePolicy):
    """The key is made of the task's code: of its source text, where it was defined, and of what it does.

    That includes what closures and defaults hold, and all of the same program that it uses by its globals:
    functions and classes, what these use, and globals that are plain values. The code of a remote task is
    elsewhere: its name and version stand for it.
    """

    needs_source = True

    def compute_key(
        self, task_ctx: "TaskRunContext", inputs: Values, flow_parameters: Values | None = NO_PARAMETERS
    ) -> str | None:
        """Hash the source as captured, and the code as it is."""
        task = task_ctx.task
        if task.is_remote:
            return hash_objects(task.name, task.version)
        try:
            return hash_objects(task.settings.source_code, code_fingerprint(task.fn))
        except HashError as error:
            raise ValueError(
                f"{error}. It is in a closure, a default, or in what the task was made of: pass it as an "
                "argument, or leave TASK_SOURCE out of the cache policy"
            ) from error


@dataclass(frozen=True)
class FlowParameters(CachePolicy):
    """The key is made of the parameters of the flow run."""

    def compute_key(
        self, task_ctx: "TaskRunContext", inputs: Values, flow_parameters: Values | None = NO_PARAMETERS
    ) -> str | None:
        """Hash the flow's parameters by name."""
        if flow_parameters is None and task_ctx.flow_run_id is not None:
            raise ValueError(
                "the flow's parameters are not known in this process; pass the task results instead of "
                "futures, so that the key is computed where the flow runs"
            )
        return hash_objects(dict(flow_parameters), raise_on_failure=True) if flow_parameters else None


@dataclass(frozen=True)
class RunId(CachePolicy):
    """The key is the flow run, or outside of flows the task run."""

    def compute_key(
        self, task_ctx: "TaskRunContext", inputs: Values, flow_parameters: Values | None = NO_PARAMETERS
    ) -> str:
        """Return the id as text, so that nothing is shared beyond one flow run."""
        return str(task_ctx.flow_run_id or task_ctx.task_run_id)


@dataclass(frozen=True)
class CompoundCachePolicy(CachePolicy):
    """The key is made of the keys of several policies; parts without a key are left out."""

    policies: tuple[CachePolicy, ...] = ()

    def __post_init__(self) -> None:
        """Merge policies of inputs into one, the last, so that the order of adding does not matter to it."""
        inputs = [policy for policy in self.policies if isinstance(policy, Inputs)]
        if inputs:
            others = [policy for policy in self.policies if not isinstance(policy, Inputs)]
            merged = Inputs(frozenset().union(*(policy.exclude for policy in inputs)))
            object.__setattr__(self, "policies", (*others, merged))

    @property
    def needs_source(self) -> bool:  # type: ignore[override]  # decided by the parts
        """Whether any of the policies does."""
        return any(policy.needs_source for policy in self.policies)

    @property
    def of_inputs_alone(self) -> bool:  # type: ignore[override]  # decided by the parts
        """Whether one of the policies is, and none of the others knows the source."""
        return not self.needs_source and any(policy.of_inputs_alone for policy in self.policies)

    def compute_key(
        self, task_ctx: "TaskRunContext", inputs: Values, flow_parameters: Values | None = NO_PARAMETERS
    ) -> str | None:
        """Hash the parts' keys in order."""
        computed = (policy.compute_key(task_ctx, inputs, flow_parameters) for policy in self.policies)
        keys = [key for key in computed if key is not None]
        return hash_objects(*keys, raise_on_failure=True) if keys else None

    def __sub__(self, parameter: str) -> "CompoundCachePolicy":
        """Leave a parameter out of the inputs, if they are a part."""
        _require_name(parameter)
        other = CompoundCachePolicy(tuple(policy - parameter for policy in self.policies))
        return _with(other, self.configuration())


def _parts(policy: CachePolicy) -> tuple[CachePolicy, ...]:
    return policy.policies if isinstance(policy, CompoundCachePolicy) else (policy,)


def _with(policy: Q, said: Mapping[str, Any]) -> Q:
    """Return a policy of which more is said; itself, where nothing is."""
    more = {name: value for name, value in said.items() if value is not None}
    if not more:
        return policy
    other = copy.copy(policy)
    for name, value in {**policy.configuration(), **more}.items():
        object.__setattr__(other, name, value)  # policies are values, and frozen
    return other


def _agreed(one: CachePolicy, other: CachePolicy) -> dict[str, Any]:
    """Return what is said of either of two policies.

    Raises:
        ValueError: They contradict each other.
    """
    said, more = one.configuration(), other.configuration()
    for name in said.keys() & more.keys():
        if said[name] != more[name]:
            raise ValueError(
                f"cache policies with different {name} cannot be added: {said[name]!r} and {more[name]!r};"
                " configure their sum"
            )
    return {**said, **more}


def _require_name(parameter: object) -> str:
    if not isinstance(parameter, str):
        raise TypeError(
            f"only names of parameters can be subtracted from a cache policy, got {type(parameter).__name__}"
        )
    return parameter


INPUTS: Final = Inputs()
TASK_SOURCE: Final = TaskSource()
FLOW_PARAMETERS: Final = FlowParameters()
RUN_ID: Final = RunId()
NO_CACHE: Final = NoCache()
NONE: Final = NO_CACHE
DEFAULT: Final = INPUTS + TASK_SOURCE + RUN_ID

if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
