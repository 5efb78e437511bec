"""Checks of single decorator options; each returns the option in its one normal form.

Wrong options are refused where the function is decorated, because a run may be made days later on
another machine. Messages name the option, what was given and what is expected.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from taskyard._durable_names import public
from taskyard._missing_features import no_function
from taskyard.exceptions import ReservedArgumentError
from taskyard_contract.languages.encoding_names import BINARY, JSON
from taskyard_contract.payload_limits import MAX_LABEL_BYTES

MAX_RETRY_DELAYS: Final = 50
"""They are part of every template; the last one is repeated, so nobody needs more."""
MAX_RETRIES: Final = 2**31 - 1
"""What counters of attempts hold everywhere."""
LONGEST_SECONDS: Final = 100 * 365 * 24 * 3600.0
"""A century: whoever waits longer sees no difference, and clocks can count no further everywhere."""
PRIORITIES: Final = range(-(2**31), 2**31)
"""What templates can hold."""
RESULT_ENCODINGS: Final[Mapping[str, str]] = {"pickle": "", "json": JSON, "bytes": BINARY}
"""What users call encodings of results, and what templates do: empty means that of arguments."""
NO_FUNCTION: Final[Any] = None
"""What a task, or a flow, is made of that nobody has given one."""
RESERVED_ARGUMENTS: Final = ("return_state", "wait_for")

RetryDelays = float | int | Sequence[float] | Callable[[int], Sequence[float]] | None


@public("taskyard.tasks")
def exponential_backoff(backoff_factor: float) -> Callable[[int], list[float]]:
    """Make retry delays that double each time: ``factor * 2 ** n``.

    Args:
        backoff_factor: The delay before the first retry, in seconds.

    Returns:
        A callable for `retry_delay_seconds`.
    """
    return _Doubling(backoff_factor)


class _Doubling:
    """Delays that double; a class, because a function inside another one would travel by value."""

    def __init__(self, first: float) -> None:
        self._first = first

    def __call__(self, retries: int) -> list[float]:
        return [self._first * 2**number for number in range(min(retries, MAX_RETRY_DELAYS))]

    def __reduce__(self) -> tuple[Any, ...]:
        return exponential_backoff, (self._first,)


def checked_retries(retries: object) -> int:
    """Return how many retries are wanted, 0 for none; refuse what is no such number."""
    if retries is None:
        return 0
    if not isinstance(retries, int):
        raise TypeError(f"'retries' must be an int, got {type(retries).__name__}")
    if retries < 0:
        raise ValueError(f"'retries' must not be negative, got {retries}")
    if retries > MAX_RETRIES:
        raise ValueError(f"'retries' must be at most {MAX_RETRIES}, got {retries}")
    return int(retries)


def checked_retry_delays(given: RetryDelays, retries: int) -> tuple[float, ...]:
    """Return the delay before each retry in seconds; the last one serves all further retries."""
    if given is None:
        return ()
    if callable(given):
        given = given(retries)
    if isinstance(given, (int, float)):
        given = [given]
    if isinstance(given, (str, bytes)) or not isinstance(given, (list, tuple)):
        raise TypeError(
            "'retry_delay_seconds' must be a number, a list of numbers, or a callable that takes the "
            f"number of retries and returns such a list, got {type(given).__name__}"
        )
    if len(given) > MAX_RETRY_DELAYS:
        raise ValueError(
            f"'retry_delay_seconds' can hold at most {MAX_RETRY_DELAYS} delays, got {len(given)}; the last "
            "one is repeated, so a shorter list may do"
        )
    return tuple(_seconds(delay) for delay in given)


def _seconds(delay: object) -> float:
    if not isinstance(delay, (int, float)):
        raise TypeError(f"'retry_delay_seconds' must hold numbers, got {type(delay).__name__}")
    if delay < 0 or not math.isfinite(delay):
        raise ValueError(f"'retry_delay_seconds' must be finite and not negative, got {delay}")
    return min(float(delay), LONGEST_SECONDS)


def checked_jitter(factor: float | None) -> float:
    """Return the jitter factor, from 0 (none) to 1.

    More is taken and counts as 1: delays are drawn below the bound that the factor promises, and their mean
    stays the delay itself, which no wider range around it could keep.
    """
    if factor is None:
        return 0.0
    if not isinstance(factor, (int, float)):
        raise TypeError(f"'retry_jitter_factor' must be a number, got {type(factor).__name__}")
    if factor < 0 or not math.isfinite(factor):
        raise ValueError(f"'retry_jitter_factor' must be >= 0 and finite, got {factor}")
    return min(float(factor), 1.0)


def checked_timeout(seconds: float | None, option: str = "timeout_seconds") -> float | None:
    """Return the timeout; None and 0 mean none."""
    if seconds is None:
        return None
    if not isinstance(seconds, (int, float)):
        raise TypeError(f"'{option}' must be a number, got {type(seconds).__name__}")
    if seconds < 0 or not math.isfinite(seconds):
        raise ValueError(f"'{option}' must be finite and not negative, got {seconds}")
    return min(float(seconds), LONGEST_SECONDS) or None


def checked_result_encoding(encoding: str | None) -> str:
    """Return how results are written; None means the usual way."""
    if encoding is None:
        return "pickle"
    if encoding not in RESULT_ENCODINGS:
        names = ", ".join(f"'{name}'" for name in RESULT_ENCODINGS)
        raise ValueError(f"'result_encoding' must be one of {names}, got {encoding!r}")
    return encoding


def checked_expiration(expiration: timedelta | None) -> timedelta | None:
    """Return how long cached results may be used; None means for ever."""
    if expiration is not None and not isinstance(expiration, timedelta):
        raise TypeError(f"'cache_expiration' must be a timedelta, got {type(expiration).__name__}")
    return expiration


def checked_labels(labels: Mapping[str, str] | None) -> dict[str, str] | None:
    """Return what an agent must be labelled with, in the order of names; None means nothing."""
    if labels is None:
        return None
    if not isinstance(labels, Mapping):
        raise TypeError(
            "'agent_labels' must be a mapping of names to values such as {'gpu': 'a100'}, "
            f"got {type(labels).__name__}"
        )
    texts = [text for item in labels.items() for text in item]
    wrong = next((text for text in texts if not isinstance(text, str) or not text.isprintable()), None)
    if wrong is not None:
        raise TypeError(f"'agent_labels' must hold printable strings, got {wrong!r}")
    size = sum(len(text.encode()) for text in texts)
    if size > MAX_LABEL_BYTES:
        raise ValueError(f"'agent_labels' can hold at most {MAX_LABEL_BYTES:,} bytes of text, got {size:,}")
    return dict(sorted(labels.items())) or None


def checked_tags(tags: Iterable[str] | None) -> frozenset[str]:
    """Return the tags as a set; a single string is refused, because it would become its letters."""
    if tags is None:
        return frozenset()
    if isinstance(tags, str):
        raise TypeError(f"'tags' must be a collection of strings, got the string '{tags}'; write ['{tags}']")
    if not isinstance(tags, Iterable):
        raise TypeError(f"'tags' must be a collection of strings, got {tags!r}")
    collected = frozenset(tags)
    wrong = next((tag for tag in collected if not isinstance(tag, str)), None)
    if wrong is not None:
        raise TypeError(f"'tags' must hold strings, got {wrong!r}")
    return collected


def checked_priority(priority: int | None) -> int:
    """Return the priority; None means the usual one."""
    checked_type("priority", priority, int, "an int")
    if priority is None:
        return 0
    if priority not in PRIORITIES:
        raise ValueError(f"'priority' must lie between {PRIORITIES[0]} and {PRIORITIES[-1]}, got {priority}")
    return priority


def checked_hooks(option: str, hooks: Iterable[Callable[..., Any]] | None) -> tuple[Callable[..., Any], ...]:
    """Return a list of hooks as a tuple."""
    if hooks is None:
        return ()
    if not isinstance(hooks, Iterable):
        raise TypeError(
            f"'{option}' must be a list of callables, got {type(hooks).__name__}; write {option}=[hook]"
        )
    collected = tuple(hooks)
    wrong = next((hook for hook in collected if not callable(hook)), None)
    if wrong is not None:
        raise TypeError(f"'{option}' must hold callables, got {wrong!r}")
    return collected


def checked_callable(option: str, value: Callable[..., Any] | None) -> Callable[..., Any] | None:
    """Return the callable, or None when the option was left out; refuse anything else."""
    if value is not None and not callable(value):
        raise TypeError(f"'{option}' must be callable, got {type(value).__name__}")
    return value


def checked_type(option: str, value: object, kind: type, expected: str) -> None:
    """Refuse an option that is neither None nor of its type.

    Raises:
        TypeError: It is something else.
    """
    wrong_bool = isinstance(value, bool) and kind is not bool
    if value is not None and (wrong_bool or not isinstance(value, kind)):
        raise TypeError(f"'{option}' must be {expected}, got {value!r}")


def checked_run_name(option: str, value: object) -> Any:
    """Return a run name: a template, or a callable that returns a name."""
    if value is not None and not isinstance(value, str) and not callable(value):
        raise TypeError(f"'{option}' must be a string or a callable, got {type(value).__name__}")
    return value


def given_function(kind: str, fn: object) -> Any:
    """Return what a task, or a flow, is to be made of, if that can be called.

    Raises:
        TypeError: It cannot, or nothing was given, as programs for Prefect 1 do; the text says which.
    """
    if not callable(fn) and not isinstance(fn, (classmethod, staticmethod)):
        raise TypeError(no_function(kind, fn))
    return fn


def checked_function(fn: object) -> Callable[..., Any]:
    """Return the function to decorate.

    Raises:
        TypeError: It cannot be called.
        ReservedArgumentError: It has a parameter that calls of tasks and flows use themselves.
    """
    if not callable(fn):
        raise TypeError(f"'fn' must be callable, got {type(fn).__name__}")
    refuse_reserved_arguments(signature_of(fn), RESERVED_ARGUMENTS)
    return fn


def refuse_reserved_arguments(signature: inspect.Signature, reserved: Iterable[str]) -> None:
    """Refuse a function of which a parameter has one of some names.

    Raises:
        ReservedArgumentError: It has.
    """
    for name in reserved:
        if name in signature.parameters:
            raise ReservedArgumentError(f"'{name}' is a reserved argument name and cannot be used.")


def signature_of(fn: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of a function; of a builtin that has none, one that takes everything."""
    try:
        return inspect.signature(fn)
    except ValueError:
        return inspect.signature(lambda *args, **kwargs: None)


def function_name(fn: Callable[..., Any]) -> str:
    """Return the name of a function, or the class name of a callable object."""
    return getattr(fn, "__name__", None) or type(fn).__name__
