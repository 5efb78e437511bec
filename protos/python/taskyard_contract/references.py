"""References to results that do not exist yet, inside pickled arguments.

Pickling a future writes a call of `resolve`. While arguments are pickled, `collecting` notes every
reference; while they are unpickled, `resolving` says where the values are. So references work at any
depth, in any container, without a pass of their own over the arguments.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from taskyard_contract.states import UpstreamKind


class _Current(threading.local):
    collected: dict[bytes, int] | None = None
    values: Mapping[bytes, Any] | None = None


_current = _Current()


@contextmanager
def collecting() -> Iterator[dict[bytes, int]]:
    """Collect the references met while pickling: id of the upstream run -> `UpstreamKind`."""
    before, _current.collected = _current.collected, {}
    try:
        yield _current.collected
    finally:
        _current.collected = before


def begin_collecting(into: dict[bytes, int] | None) -> dict[bytes, int] | None:
    """Start (or, with None, end) collecting; returns what was active. The hot path's `collecting`."""
    before, _current.collected = _current.collected, into
    return before


def note(run_id: bytes, kind: int = UpstreamKind.DATA) -> None:
    """Note a reference. The weakest demand wins: allowing failure once allows it for the whole call.

    Raises:
        TypeError: No arguments are being pickled, so the reference would never be resolved.
    """
    collected = _current.collected
    if collected is None:
        raise TypeError(
            "a future can only be pickled as an argument of a task; call .result() and pickle that instead"
        )
    if collected.get(run_id) != UpstreamKind.DATA_OR_FAILURE:
        collected[run_id] = kind


@contextmanager
def resolving(values: Mapping[bytes, Any]) -> Iterator[None]:
    """Make `resolve` look into `values`, whose keys are ids of upstream runs."""
    before, _current.values = _current.values, values
    try:
        yield
    finally:
        _current.values = before


def resolve(run_id: bytes) -> Any:
    """Return the value of an upstream run; called by unpickling.

    Raises:
        LookupError: The control plane did not send that value.
    """
    values = _current.values
    if values is None or run_id not in values:
        raise LookupError(f"the result of upstream run {run_id.hex()} did not arrive with the arguments")
    return values[run_id]
