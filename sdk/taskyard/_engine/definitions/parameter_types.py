"""Parameters of runs checked against, and converted to, the types that their function declares.

pydantic is imported with the first flow that has annotations to check. Tasks pay for it only where they are
called with JSON, which has no types of Python's.
Invariant: a parameter that has its default value is not touched, so ``x: str = None`` keeps working.
"""

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from taskyard._engine.definitions.signatures import CallSignature
from taskyard.exceptions import ParameterTypeError, TaskRunTimeoutError

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError


class ParameterValidator:
    """Validates the parameters of one function. Made once, builds its model at first use."""

    __slots__ = ("_aliases", "_fn", "_kind", "_model", "_signature")

    def __init__(self, fn: Callable[..., Any], signature: CallSignature, kind: str = "Flow") -> None:
        """Prepare for the function of a flow, or of a task, as `kind` says."""
        self._kind = kind
        self._fn = fn
        self._signature = signature
        self._model: type[BaseModel] | None = None
        self._aliases: dict[str, str] = {}

    def validate(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters, converted where the declared type asks for it.

        Args:
            parameters: Arguments by name, defaults included.

        Raises:
            ParameterTypeError: Parameters do not have their declared types; names each of them. Or nobody can
                say, because a type has no schema, or its own validator broke down.
        """
        checked = {name: value for name, value in parameters.items() if not self._is_default(name, value)}
        if not checked:
            return dict(parameters)
        from pydantic import ValidationError

        try:
            model = self._model or self._build()
            given = {name: value for name, value in checked.items() if name in self._aliases}
            converted = model.model_validate(given)
        except ValidationError as error:
            raise ParameterTypeError(_explain(error, self._kind)) from error
        except TaskRunTimeoutError:
            raise  # it did not come from the parameters: the time of the run is up
        except Exception as error:  # annotations, and what types do to check a value, are foreign code
            why = f"{type(error).__name__}: {error}"
            raise ParameterTypeError(
                f"{self._kind} run received parameters that cannot be checked: {why}"
            ) from error
        return {**parameters, **{name: getattr(converted, self._aliases[name]) for name in given}}

    def _is_default(self, name: str, value: object) -> bool:
        return value is self._signature.signature.parameters[name].default

    def _build(self) -> "type[BaseModel]":
        """Make a model with one optional field per annotated parameter.

        Fields have names of their own, because parameters may be called like attributes of models.
        """
        from pydantic import BaseModel, ConfigDict, Field, create_model

        fields: dict[str, Any] = {}
        for position, (name, declared) in enumerate(declared_types(self._fn, self._signature).items()):
            self._aliases[name] = f"field_{position}"
            fields[f"field_{position}"] = (declared, Field(default=None, alias=name))
        config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=())
        model: type[BaseModel] = create_model(f"{self._kind}Parameters", __config__=config, **fields)
        self._model = model
        return model


def declared_types(fn: Callable[..., Any], signature: CallSignature) -> dict[str, Any]:
    """Return what each annotated parameter of a function is declared to be."""
    hints = _hints(fn)
    parameters = signature.signature.parameters
    return {name: _declared(parameters[name], hints[name]) for name in parameters if name in hints}


def return_type(fn: Callable[..., Any]) -> Any | None:
    """Return what a function is declared to return; None when nothing is declared, or nothing comes back."""
    return _hints(fn).get("return")


def _hints(fn: Callable[..., Any]) -> dict[str, Any]:
    """Return annotations by name, without those that cannot be evaluated: names for type checkers only."""
    try:
        return typing.get_type_hints(fn, include_extras=True)
    except Exception:  # evaluating annotations runs foreign expressions
        raw = typing.cast("dict[str, Any]", getattr(fn, "__annotations__", {}))
        return {name: hint for name, hint in raw.items() if not isinstance(hint, str)}


def _declared(parameter: inspect.Parameter, hint: Any) -> Any:
    """Return the type of a parameter's value: ``*args`` arrives as a tuple, ``**kwargs`` as a dict."""
    if parameter.kind is parameter.VAR_POSITIONAL:
        return types.GenericAlias(tuple, (hint, ...))
    if parameter.kind is parameter.VAR_KEYWORD:
        return types.GenericAlias(dict, (str, hint))
    return hint


def _explain(error: "ValidationError", kind: str) -> str:
    lines = [f" - {'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
    return "\n".join([f"{kind} run received invalid parameters:", *lines])
