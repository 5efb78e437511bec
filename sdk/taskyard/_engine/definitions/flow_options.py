"""The options of flows, as users write them and as the engine keeps them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, TypedDict

from taskyard import settings
from taskyard._engine.definitions.option_checks import RetryDelays, checked_run_name, checked_type
from taskyard._engine.definitions.options import HOOKS, Hooks, Settings
from taskyard.exceptions import ConfigurationError

IMAGE: Final = "image"
"""As `code`: workers have it, nothing is sent."""
Code = str | tuple[str, ...]
"""What is said of the code of tasks: `IMAGE`, or patterns of files to send besides those that are found."""
FLOW_HOOKS: Final = (*HOOKS, "on_cancellation", "on_crashed")


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
    result_encoding: Literal["pickle", "json", "bytes"] | None
    result_storage: Any
    result_serializer: Any
    result_storage_key: str | None
    cache_result_in_memory: bool | None
    final_state: Literal["returned", "all"] | None
    task_calls: Literal["value", "future"] | None
    code: Literal["image"] | Iterable[str] | None
    on_completion: Iterable[Callable[..., Any]] | None
    on_failure: Iterable[Callable[..., Any]] | None
    on_cancellation: Iterable[Callable[..., Any]] | None
    on_crashed: Iterable[Callable[..., Any]] | None
    on_running: Iterable[Callable[..., Any]] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowSettings(Settings):
    """Options of a flow in their normal form."""

    kind: ClassVar[str] = "flow"
    options: ClassVar[type] = FlowOptions

    flow_run_name: str | Callable[..., str] | None = None
    task_runner: Any = None
    validate_parameters: bool = True
    final_state: Literal["returned", "all"] | None = None
    task_calls: Literal["value", "future"] | None = None
    code: Code | None = None
    on_cancellation: Hooks = ()
    on_crashed: Hooks = ()

    def __post_init__(self) -> None:
        self._normalise(FLOW_HOOKS)
        checked_type("validate_parameters", self.validate_parameters, bool, "True or False")
        checked_run_name("flow_run_name", self.flow_run_name)
        if self.final_state not in (None, "returned", "all"):
            raise ConfigurationError(
                f"flow '{self.name}' has final_state={self.final_state!r}; expected 'returned' (what the "
                "flow returns decides) or 'all' (with nothing returned, all its runs decide)"
            )
        if self.task_calls not in (None, "value", "future"):
            raise ConfigurationError(
                f"flow '{self.name}' has task_calls={self.task_calls!r}; expected 'value' (a call of a task "
                "returns its value) or 'future' (it submits a run and returns its future)"
            )
        self._set(code=_checked_code(self.name, self.code))

    @property
    def call_gives_future(self) -> bool:
        """Whether calls of tasks return futures: as the flow says, or else the environment.

        Raises:
            ValueError: The environment says something else.
        """
        return (self.task_calls or settings.task_calls()) == "future"

    @property
    def all_decide(self) -> bool:
        """Whether all runs decide how a flow run ends that returns nothing.

        They do by themselves where calls return futures: nothing else would be heard of their failures.
        """
        return (self.final_state or ("all" if self.call_gives_future else "returned")) == "all"


def _checked_code(name: str, code: object) -> Code | None:
    if code is None or code == IMAGE:
        return code
    if isinstance(code, list | tuple) and all(isinstance(one, str) and one for one in code):
        return tuple(code)
    raise ConfigurationError(
        f"flow '{name}' has code={code!r}; expected \"{IMAGE}\" (workers on other machines have its code) "
        "or a list of patterns of files to send to them"
    )
