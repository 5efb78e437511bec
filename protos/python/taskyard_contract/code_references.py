"""Code by reference: ``module:qualname``, looked up in the environment where it runs.

What lies under such a name may be wrapped several times over: in a decorated task or flow (whose function is
its `fn`), in a `staticmethod` or `classmethod`, or in both, in either order. So a name is followed through
the classes themselves, not through what their attributes turn into when they are read, and all wrappers come
off. `function_at` gives the function that was written, `callable_at` what to call with a run's arguments.
"""

from collections.abc import Callable
from importlib import import_module
from types import FunctionType, MethodType
from typing import Any, Final

_MOST_WRAPPERS: Final = 32
"""Objects that have every attribute, as mocks do, would be unwrapped for ever."""


def function_at(reference: str) -> Callable[..., Any]:
    """Return the function that a reference names, without any decorator around it.

    Raises:
        ValueError: It is no reference.
        ImportError: The module cannot be imported here.
        AttributeError: The module has nothing of that name.
        TypeError: What has that name cannot be called.
    """
    _, found = _find(reference)
    value, _ = _unwrapped(found)
    # A method that is bound to an object of the module: the function is behind it.
    return _callable(getattr(value, "__func__", value), reference, found)


def callable_at(reference: str) -> Callable[..., Any]:
    """Return what to call with the arguments of a run; a class method comes bound to its class.

    Raises:
        ValueError, ImportError, AttributeError, TypeError: See `function_at`.
    """
    owner, found = _find(reference)
    value, of_class = _unwrapped(found)
    if of_class and isinstance(owner, type):
        value = MethodType(value, owner)
    return _callable(value, reference, found)


def task_at(reference: str, is_task: Callable[[Any], bool]) -> Any | None:
    """Return the task that a reference names, bound to its class where it is a class method; None if it is
    none.

    Args:
        reference: ``module:qualname``.
        is_task: Whether an object is a task.

    Raises:
        ValueError, ImportError, AttributeError: See `function_at`.
    """
    owner, value = _find(reference)
    of_class = False
    while isinstance(value, staticmethod | classmethod):
        of_class = of_class or isinstance(value, classmethod)
        value = value.__func__
    if not is_task(value):
        return None
    if isinstance(owner, type):
        return value.__get__(owner if of_class else None, owner)
    return value


def _find(reference: str) -> tuple[Any, Any]:
    """Return what lies under a name, as it lies there, and what it lies in."""
    module_name, separator, qualname = reference.partition(":")
    if not separator or not module_name or not all(qualname.split(".")):
        raise ValueError(f"'{reference}' is not a code reference; expected 'module:qualname'")
    try:
        owner: Any = import_module(module_name)
    except ImportError as error:
        raise ImportError(
            f"the module of '{reference}' cannot be imported here: {error}", name=error.name
        ) from error
    value = owner
    for part in qualname.split("."):
        owner, value = value, _attribute(value, part, reference)
    return owner, value


def _attribute(of: Any, name: str, reference: str) -> Any:
    if isinstance(of, type):
        for kind in of.__mro__:
            if name in vars(kind):
                return vars(kind)[name]
    try:
        return getattr(of, name)
    except AttributeError:
        where = getattr(of, "__qualname__", None) or getattr(of, "__name__", type(of).__qualname__)
        raise AttributeError(f"'{reference}' names nothing: '{where}' has no '{name}'") from None


def _unwrapped(value: Any) -> tuple[Any, bool]:
    """Take decorators off; also returns whether one of them made it a method of its class."""
    of_class = False
    for _ in range(_MOST_WRAPPERS):
        if isinstance(value, FunctionType | MethodType | type):
            break
        if isinstance(value, staticmethod | classmethod):
            of_class = of_class or isinstance(value, classmethod)
            value = value.__func__
        elif hasattr(value, "fn"):
            # A task or a flow; it remembers what it was made of.
            of_class = of_class or getattr(value, "isclassmethod", False) is True
            value = value.fn
        else:
            break
    return value, of_class


def _callable(value: Any, reference: str, found: Any) -> Callable[..., Any]:
    if not callable(value):
        raise TypeError(f"'{reference}' is a {type(found).__qualname__}, which cannot be called")
    function: Callable[..., Any] = value
    return function
