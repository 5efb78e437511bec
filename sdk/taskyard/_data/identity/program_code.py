"""What is code, and which of it is the program's own."""

from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

from taskyard._data.identity.installed import is_installed
from taskyard._data.identity.sealing import sealed


def qualified_name(fn: Callable[..., Any]) -> str:
    """Return ``module.qualname`` of a function, or of the class of a callable object."""
    named = fn if hasattr(fn, "__qualname__") else type(fn)
    return f"{named.__module__}.{named.__qualname__}"


def named(code: Any) -> bytes:
    """Return what stands for the name of code."""
    return sealed(b"named", qualified_name(code).encode())


def is_code(value: Any) -> bool:
    """Say whether something is a class, a function, or what a decorator made of a function."""
    return isinstance(value, type | FunctionType) or wrapped_in(value) is not None


def is_counted(value: Any) -> bool:
    """Say whether something is code that is told apart by what it is, and not by its name."""
    if not isinstance(value, type | FunctionType):
        return not isinstance(value, CodeType) and wrapped_in(value) is not None
    if "<" in value.__qualname__:
        return True
    module = value.__module__ or getattr(value, "__globals__", {}).get("__name__")
    return isinstance(module, str) and not is_installed(module)


def wrapped_in(value: Any) -> Any:
    """Return the function inside of what a decorator made of it, if that is no function itself."""
    if isinstance(value, type | FunctionType):
        return None
    attributes = getattr(value, "__dict__", None)
    wrapped = attributes.get("__wrapped__") if type(attributes) is dict else None
    return wrapped if isinstance(wrapped, FunctionType) else None
