"""Futures among the arguments of a flow: its body runs in this process, so they are waited for here.

Invariant: the body of a flow never sees a future that its caller passed; it sees the value.
"""

from typing import Any

from taskyard._engine.futures.future import Future
from taskyard._engine.futures.in_values import futures_in, replaced, value_of

Call = tuple[tuple[Any, ...], dict[str, Any]]


def upstream_of(call: Call, wait_for: object) -> list[Future[Any]]:
    """Return the futures that must have ended before the flow starts."""
    return list(futures_in([call, wait_for])) if wait_for is not None else list(futures_in(call))


def resolved(call: Call, wait_for: object) -> Call:
    """Return the arguments with futures replaced by their values, once `wait_for` has completed too.

    Raises:
        UpstreamTaskError: A run did not complete.
    """
    for future, kind in futures_in(wait_for).items():
        value_of(future, kind)
    args, kwargs = replaced(call, value_of)
    return args, kwargs
