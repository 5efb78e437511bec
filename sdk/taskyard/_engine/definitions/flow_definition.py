"""What a flow is before anybody calls it.

`taskyard.flows.Flow` inherits it and adds the call. The body is kept apart from `fn`, the function that
names, signature and options come from: a flow that is built of a graph has a body that no user wrote.
"""

from collections.abc import Callable
from typing import Any, Generic

from taskyard import _durable_names
from taskyard._data.values.hashing import task_key
from taskyard._engine.definitions.decorated import Decorated, P, R
from taskyard._engine.definitions.flow_options import FlowSettings
from taskyard._engine.definitions.parameter_types import ParameterValidator


class FlowDefinition(Decorated[P, R, FlowSettings], Generic[P, R]):
    """A function with the options of a flow."""

    kind = "flow"

    def _configure(self, settings: FlowSettings) -> None:
        """Compute everything that all calls have in common."""
        super()._configure(settings)
        self.body: Callable[..., Any] = settings.fn
        self.flow_key = task_key(settings.name, settings.fn)
        self.task_runner = settings.task_runner
        self.results = settings.result_plan()
        self.validator = (
            ParameterValidator(settings.fn, self.signature) if settings.validate_parameters else None
        )

    def on_cancellation(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Add a hook ``(flow, flow_run, state)``, called when a run is cancelled. A decorator."""
        return self._add_hook("on_cancellation", fn)

    def on_crashed(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Add a hook ``(flow, flow_run, state)``, called when a run is interrupted. A decorator."""
        return self._add_hook("on_crashed", fn)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel under a durable name; made empty and filled later, because a flow may refer to itself."""
        state = {"settings": self.settings.values(), "prefix": self._prefix}
        return _durable_names.flow, _durable_names.own_kind("flow", self), state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become the same flow in another process."""
        self._prefix = state["prefix"]
        self._configure(FlowSettings.restored(state["settings"]))
