"""Identity of tasks and of calls: keys that are equal wherever and whenever they are computed.

Invariant: a key depends on the content of values and of code, never on where a file lies, on memory
addresses, on what is shared in memory, or on the seed of Python's string hashes.
"""

import hashlib
import inspect
import logging
from collections.abc import Callable, Iterable
from typing import Any, Final

from taskyard._data.identity.code_identity import identity_of
from taskyard._data.identity.contents import Contents
from taskyard._data.identity.program_code import is_counted, qualified_name
from taskyard._data.identity.sealing import sealed
from taskyard._data.identity.seen_before import SeenBefore
from taskyard._durable_names import public
from taskyard.exceptions import HashError

logger: Final = logging.getLogger("taskyard.tasks")

_KEYS: Final = b"taskyard keys 2"
"""Which rules keys are made by: other rules make other keys."""
_DIGITS: Final = 32
_said: Final = SeenBefore()


def task_key(name: str, fn: Callable[..., Any], tags: Iterable[str] = (), *, module: str = "") -> str:
    """Return the identity of a task: of its name, its function's qualified name and its tags.

    With a `module` it is what it would be if its function was defined there.
    """
    qualified = qualified_name(fn)
    if module:
        named = fn if hasattr(fn, "__qualname__") else type(fn)
        qualified = f"{module}.{named.__qualname__}"
    text = f"{name}{qualified}{sorted(tags)}"
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def hash_objects(*args: Any, raise_on_failure: bool = False, **kwargs: Any) -> str | None:
    """Return a key for values: of their types and of what they hold.

    Args:
        *args: Values.
        raise_on_failure: Whether to raise instead of returning None.
        **kwargs: More values.

    Returns:
        32 hexadecimal digits, or None when a value has nothing that could be compared.

    Raises:
        HashError: The same, when `raise_on_failure`.
    """
    contents = Contents(identity_of)
    try:
        named = (contents.of(kwargs),) if kwargs else ()
        return _shortened(sealed(_KEYS, *map(contents.of, args), b"", *named))
    except Exception as error:  # foreign code says how its objects are pickled, and may raise anything
        if raise_on_failure:
            raise _no_content(error) from error
        return None


def _shortened(digest: bytes) -> str:
    return digest[1:].hex()[:_DIGITS]


def _no_content(error: Exception) -> HashError:
    return HashError(f"cannot compute a key: a value has no content that could be compared ({error})")


def code_fingerprint(fn: Callable[..., Any], *, alone: bool = False) -> str:
    """Return what stands for the code of a function, or of a callable object and what it holds.

    Args:
        fn: The function.
        alone: Whether what it uses by its globals does not count.

    Raises:
        HashError: It holds something, in a closure for example, that has no content.
    """
    try:
        counted = is_counted(fn)
        return _shortened(identity_of(fn, alone=alone) if counted else Contents(identity_of).of(fn))
    except Exception as error:  # as above
        raise _no_content(error) from error


def source_code(fn: Callable[..., Any]) -> str:
    """Return the source text of a function; "" where there is none (a prompt, a builtin).

    To be read where the task is defined: other machines may lack the file.
    """
    try:
        return inspect.getsource(fn if hasattr(fn, "__code__") else type(fn))
    except (OSError, TypeError):
        return ""


@public("taskyard.tasks")
def task_input_hash(context: Any, arguments: dict[str, Any]) -> str | None:
    """Return a cache key for a call of a task: of the task, its own code and all arguments.

    Its code is that of its function alone: bytecode, names and constants, defaults and what closures hold.

    Args:
        context: The task run's context.
        arguments: The arguments by name, defaults included.

    Returns:
        The key, or None (no caching) when an argument, or a closure, has no content that could be compared.
    """
    task = context.task
    try:
        code = code_fingerprint(task.fn, alone=True)
        return hash_objects(task.task_key, code, arguments, raise_on_failure=True)
    except HashError as error:
        if not _said.before(task.task_key):
            logger.warning("a run of '%s' is not cached: %s", getattr(task, "name", task.task_key), error)
        return None
