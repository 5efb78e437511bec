"""What a flow is before anybody calls it.

`taskyard.flows.Flow` inherits it and adds the call. The body is kept apart from `fn`, the function that
names, signature and options come from: a flow that is built of a graph has a body that no user wrote.
"""

from collections.abc import Callable, Mapping
from typing import Any, Generic

from taskyard import _durable_names
from taskyard._data.runs.state import State
from taskyard._data.values.hashing import task_key
from taskyard._engine.definitions.decorated import Decorated, Hook, P, R
from taskyard._engine.definitions.flow_options import FlowSettings
from taskyard._engine.definitions.parameter_schema import ParameterSchema, parameter_schema
from taskyard._engine.definitions.parameter_types import ParameterValidator
from taskyard._engine.futures.future import Future


class FlowDefinition(Decorated[P, R, FlowSettings], Generic[P, R]):
    """A function with the options of a flow."""

    kind = "flow"

    def _configure(self, settings: FlowSettings) -> None:
        """Compute everything that all calls have in common."""
        super()._configure(settings)
        self.body: Callable[..., Any] = settings.fn
        self.flow_key = task_key(settings.name, settings.fn)
        self.task_runner = settings.task_runner
        self.flow_run_name = settings.flow_run_name
        self.should_validate_parameters = settings.validate_parameters
        self.on_cancellation_hooks = list(settings.on_cancellation)
        self.on_crashed_hooks = list(settings.on_crashed)
        self.results = settings.result_plan()
        self.validator = (
            ParameterValidator(settings.fn, self.signature) if settings.validate_parameters else None
        )

    @property
    def parameters(self) -> ParameterSchema:
        """The parameters of calls, as a JSON schema; without the instance of a method."""
        return parameter_schema(self.fn, self.signature, len(self._prefix))

    def validate_parameters(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return parameters converted to their declared types, as a call converts them.

        Args:
            parameters: Arguments by name. Those with defaults may be left out, and stay left out.

        Raises:
            ParameterBindError: There is no such parameter, or one without a default is missing.
            ParameterTypeError: One does not have its declared type; names each of them.
        """
        args, kwargs = self.signature.split({**self._bound(), **parameters})
        given = self.signature.bind(args, kwargs, defaults=False)
        validator = self.validator or ParameterValidator(self.fn, self.signature)
        converted = validator.validate(given)
        return {name: value for name, value in converted.items() if name in parameters}

    def serialize_parameters(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return parameters as JSON has them; ``<Type>`` for what it has not. The instance is left out.

        Args:
            parameters: Arguments by name.
        """
        bound = self._bound()
        return {
            name: _as_json(value)
            for name, value in parameters.items()
            if name not in bound or value is not bound[name]
        }

    def _bound(self) -> dict[str, Any]:
        """Return the arguments that it is bound to, by name."""
        return dict(zip(self.signature.signature.parameters, self._prefix, strict=False))

    def on_cancellation(self, fn: Hook) -> Hook:
        """Add a hook ``(flow, flow_run, state)``, called when a run is cancelled. A decorator."""
        return self._add_hook("on_cancellation", fn)

    def on_crashed(self, fn: Hook) -> Hook:
        """Add a hook ``(flow, flow_run, state)``, called when a run is interrupted. A decorator."""
        return self._add_hook("on_crashed", fn)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel under a durable name; made empty and filled later, because a flow may refer to itself."""
        state: dict[str, Any] = {"settings": self.settings.values(), "prefix": self._prefix}
        if self.isclassmethod or self.isstaticmethod:
            state |= {"classmethod": self.isclassmethod, "staticmethod": self.isstaticmethod}
        return _durable_names.flow, _durable_names.own_kind("flow", self), state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Become the same flow in another process."""
        self._prefix = state["prefix"]
        self.isclassmethod = state.get("classmethod", False)
        self.isstaticmethod = state.get("staticmethod", False)
        self._configure(FlowSettings.restored(state["settings"]))


def _as_json(value: Any) -> Any:
    from pydantic_core import to_jsonable_python

    if isinstance(value, (Future, State)):
        return f"<{type(value).__name__}>"
    try:
        return to_jsonable_python(value)
    except Exception:  # a value of a foreign class, whose code may raise anything
        return f"<{type(value).__name__}>"
