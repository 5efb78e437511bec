"""Calls of functions taken apart and put together: arguments to parameters and back."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from taskyard._engine.definitions.option_checks import refuse_reserved_arguments, signature_of
from taskyard._engine.definitions.parameter_schema import ParameterSchema
from taskyard._engine.definitions.parameter_schema import parameter_schema as schema_of_parameters
from taskyard._engine.definitions.signatures import CallSignature
from taskyard._missing_features import absent_names
from taskyard_contract import pickling

__all__ = [
    "ParameterSchema",
    "call_with_parameters",
    "cloudpickle_wrapped_call",
    "collapse_variadic_parameters",
    "explode_variadic_parameter",
    "get_call_parameters",
    "get_parameter_defaults",
    "parameter_schema",
    "parameters_to_args_kwargs",
    "raise_for_reserved_arguments",
]


def get_call_parameters(
    fn: Callable[..., Any],
    call_args: tuple[Any, ...],
    call_kwargs: dict[str, Any],
    apply_defaults: bool = True,
) -> dict[str, Any]:
    """Return the arguments of a call by the names of parameters.

    Args:
        fn: The function.
        call_args: Positional arguments.
        call_kwargs: Keyword arguments.
        apply_defaults: Whether to fill in defaults.

    Raises:
        ParameterBindError: The arguments do not match the signature.
    """
    return CallSignature(fn).bind(call_args, call_kwargs, apply_defaults)


def parameter_schema(fn: Callable[..., Any]) -> ParameterSchema:
    """Return the parameters of a function as a JSON schema, with defaults and descriptions.

    Args:
        fn: The function.
    """
    return schema_of_parameters(fn, CallSignature(fn))


def get_parameter_defaults(fn: Callable[..., Any]) -> dict[str, Any]:
    """Return the defaults of a function by the names of its parameters; those without one are left out."""
    parameters = signature_of(fn).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not inspect.Parameter.empty}


def parameters_to_args_kwargs(
    fn: Callable[..., Any], parameters: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return parameters by name as the arguments of a call: the opposite of `get_call_parameters`.

    Args:
        fn: The function.
        parameters: Values by name; what is given for ``*args`` is a tuple, for ``**kwargs`` a dict.

    Raises:
        SignatureMismatchError: A name is none of the function's.
    """
    return CallSignature(fn).split(parameters)


def call_with_parameters(fn: Callable[..., Any], parameters: Mapping[str, Any]) -> Any:
    """Call a function with parameters by name.

    Args:
        fn: The function.
        parameters: Values by name, as `get_call_parameters` returns them.

    Raises:
        SignatureMismatchError: A name is none of the function's.
    """
    args, kwargs = parameters_to_args_kwargs(fn, parameters)
    return fn(*args, **kwargs)


def cloudpickle_wrapped_call(__fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[[], bytes]:
    """Return a call that can be pickled where the function itself cannot; its result is a pickle, too.

    Args:
        __fn: The function.
        *args: Its arguments.
        **kwargs: Its keyword arguments.
    """
    return partial(_run_pickled, pickling.dumps((__fn, args, kwargs)))


def _run_pickled(call: bytes) -> bytes:
    fn, args, kwargs = pickling.loads(call)
    return pickling.dumps(fn(*args, **kwargs))


def _variadic(fn: Callable[..., Any]) -> str | None:
    parameters = signature_of(fn).parameters.values()
    return next((one.name for one in parameters if one.kind is one.VAR_KEYWORD), None)


def explode_variadic_parameter(fn: Callable[..., Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with those of ``**kwargs`` among the others.

    Args:
        fn: The function.
        parameters: Values by name, with a dict for ``**kwargs``.
    """
    name = _variadic(fn)
    if name is None or name not in parameters:
        return dict(parameters)
    rest = {key: value for key, value in parameters.items() if key != name}
    return {**rest, **parameters[name]}


def collapse_variadic_parameters(fn: Callable[..., Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with those that the function does not name put together for its ``**kwargs``.

    Args:
        fn: The function.
        parameters: Values by name.

    Raises:
        ValueError: It has no ``**kwargs``.
    """
    known, name = signature_of(fn).parameters, _variadic(fn)
    unknown = {key: value for key, value in parameters.items() if key not in known}
    if name is None and unknown:
        raise ValueError(
            f"Signature for {fn} does not include any variadic keyword argument but parameters were given"
            f" that are not present in the signature: {', '.join(sorted(unknown))}"
        )
    named = {key: value for key, value in parameters.items() if key in known}
    return {**named, name: unknown} if name is not None else named


def raise_for_reserved_arguments(fn: Callable[..., Any], reserved_arguments: Iterable[str]) -> None:
    """Refuse a function of which a parameter has one of some names.

    Args:
        fn: The function.
        reserved_arguments: The names.

    Raises:
        ReservedArgumentError: It has; names the first one.
    """
    refuse_reserved_arguments(signature_of(fn), reserved_arguments)


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
