"""Calls of a function taken apart: arguments to parameters and back.

`inspect.signature` costs 7 us and `bind` 3, and both would be paid for every run. So a `CallSignature`
is made once per function, and the plain case, positional arguments and no more, takes a short cut that
gives the same answer.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from taskyard._engine.definitions.option_checks import function_name, signature_of
from taskyard._missing_features import absent_arguments
from taskyard.exceptions import ParameterBindError, SignatureMismatchError

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_EMPTY = inspect.Parameter.empty


class CallSignature:
    """The signature of a function, ready for many calls."""

    __slots__ = ("_defaults", "_names", "_required", "_short_cut", "fn_name", "signature")

    def __init__(self, fn: Callable[..., Any]) -> None:
        """Read the signature of `fn`."""
        self.fn_name = function_name(fn)
        self.signature = signature_of(fn)
        parameters = list(self.signature.parameters.values())
        self._short_cut = all(parameter.kind in _POSITIONAL for parameter in parameters)
        self._names = tuple(parameter.name for parameter in parameters)
        self._required = sum(parameter.default is _EMPTY for parameter in parameters)
        self._defaults = {p.name: p.default for p in parameters if p.default is not _EMPTY}

    def check(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Refuse arguments that the function would refuse.

        Raises:
            ParameterBindError: The arguments do not match the signature.
        """
        if self._is_plain(args, kwargs):
            return
        self._bound(args, kwargs)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], defaults: bool = True) -> dict[str, Any]:
        """Return the arguments by parameter name.

        Args:
            args: Positional arguments.
            kwargs: Keyword arguments.
            defaults: Whether to fill in defaults.

        Raises:
            ParameterBindError: The arguments do not match the signature.
        """
        if self._is_plain(args, kwargs):
            bound = dict(zip(self._names, args, strict=False))
            if defaults:
                for name in self._names[len(args) :]:
                    bound[name] = self._defaults[name]
            return bound
        arguments = self._bound(args, kwargs)
        if defaults:
            arguments.apply_defaults()
        return dict(arguments.arguments)

    def split(self, parameters: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return parameters by name as arguments of a call.

        Raises:
            SignatureMismatchError: A name is none of the function's.
        """
        unknown = sorted(set(parameters) - set(self.signature.parameters))
        if unknown:
            raise SignatureMismatchError(
                f"'{self.fn_name}' has no parameters named {', '.join(unknown)}; its signature is "
                f"'{self.signature}'"
            )
        bound = inspect.BoundArguments(
            self.signature,
            {name: parameters[name] for name in self.signature.parameters if name in parameters},
        )
        return bound.args, bound.kwargs

    def _is_plain(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
        return self._short_cut and not kwargs and self._required <= len(args) <= len(self._names)

    def _bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
        try:
            return self.signature.bind(*args, **kwargs)
        except TypeError as error:
            hint = absent_arguments(kwargs, self.signature.parameters)
            raise ParameterBindError.from_call(
                self.fn_name, self.signature, args, kwargs, error, hint
            ) from None
