"""Identity of tasks and of calls: keys that are equal wherever and whenever they are computed.

Invariant: a key depends on values and on source code, never on where a file lies, on memory addresses
or on the seed of Python's string hashes.
"""

import hashlib
import inspect
import json
from collections.abc import Callable, Iterable
from typing import Any

from taskyard._durable_names import public
from taskyard.exceptions import FlowRunTimeoutError, HashError
from taskyard_contract import pickling


def task_key(name: str, fn: Callable[..., Any], tags: Iterable[str] = ()) -> str:
    """Return the identity of a task: of its name, its function's qualified name and its tags."""
    text = f"{name}{qualified_name(fn)}{sorted(tags)}"
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def qualified_name(fn: Callable[..., Any]) -> str:
    """Return ``module.qualname`` of a function, or of the class of a callable object."""
    named = fn if hasattr(fn, "__qualname__") else type(fn)
    return f"{named.__module__}.{named.__qualname__}"


def hash_objects(*args: Any, raise_on_failure: bool = False, **kwargs: Any) -> str | None:
    """Return a key for values: of their JSON with sorted keys, else of their pickle.

    Args:
        *args: Values.
        raise_on_failure: Whether to raise instead of returning None.
        **kwargs: More values.

    Returns:
        32 hexadecimal digits, or None when a value can be written neither way.

    Raises:
        HashError: The same, when `raise_on_failure`.
    """
    try:
        data = json.dumps((args, kwargs), sort_keys=True, default=_json_form).encode()
    except (TypeError, ValueError, RecursionError):
        try:
            data = pickling.dumps_for_key((args, kwargs))
        except FlowRunTimeoutError:
            raise
        except Exception as error:  # pickling runs foreign code, which may raise anything
            if raise_on_failure:
                raise HashError(
                    f"cannot compute a key: a value can be written neither as JSON nor as a pickle ({error})"
                ) from error
            return None
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _json_form(value: object) -> object:
    """Write what JSON lacks and pickle writes differently in each process, marked with its type."""
    if isinstance(value, (set, frozenset)):
        return {"__set__": sorted(json.dumps(item, sort_keys=True, default=_json_form) for item in value)}
    if isinstance(value, (bytes, bytearray)):
        return {"__bytes__": value.hex()}
    raise TypeError(f"{type(value).__name__} has no JSON form")


def code_fingerprint(fn: Callable[..., Any]) -> str:
    """Return the bytecode of a function as text; of a callable object that of its class's call."""
    code = getattr(fn, "__code__", None) or getattr(type(fn).__call__, "__code__", None)
    return code.co_code.hex() if code is not None else qualified_name(fn)


def source_code(fn: Callable[..., Any]) -> str:
    """Return the source text of a function; without one (a prompt, a builtin) its bytecode.

    To be read where the task is defined: other machines may lack the file.
    """
    try:
        return inspect.getsource(fn if hasattr(fn, "__code__") else type(fn))
    except (OSError, TypeError):
        return code_fingerprint(fn)


@public("taskyard.tasks")
def task_input_hash(context: Any, arguments: dict[str, Any]) -> str | None:
    """Return a cache key for a call of a task: of the task, its bytecode and all arguments.

    Args:
        context: The task run's context.
        arguments: The arguments by name, defaults included.

    Returns:
        The key, or None (no caching) when an argument can be written neither as JSON nor as a pickle.
    """
    task = context.task
    return hash_objects(task.task_key, code_fingerprint(task.fn), arguments)
