"""References to results that do not exist yet, inside pickled arguments.

How a future in the arguments of a call becomes a dependency, without a pass of its own over the arguments:

1. Whoever submits begins to collect, in this thread, and pickles the arguments.
2. Pickle asks every object, at any depth and in any container, how it travels. A future notes the id of its
   run with the collection (`note`) and writes a call of `resolve` with that id.
3. The ids that were noted become upstream edges of the new run, which the control plane holds back until they
   are done; it sends their results along with the assignment.
4. A worker says where these values are (`resolving`) and unpickles: `resolve` puts each into its place.

What this rests on:

- The collection belongs to the thread. Outside of one a future refuses to be pickled: nothing would resolve
  it.
- What a run is to the call is decided where it is noted: `allow_failure` pickles its value apart, with a
  collection of its own, and notes what is in there as admitted to have failed; `quote` does so and refuses.
- Pickling may happen twice, when plain pickle refuses and cloudpickle follows. Notes are a dictionary, so the
  second time changes nothing. If the arguments are refused, the collection is thrown away with them.
- The weakest demand wins: a run that is allowed to fail in one place of a call is allowed to in all of them.
- Arguments are unpickled for each attempt anew, so two runs never share a mutable value.

Large values inside arguments are stored by themselves, once for all calls that have them: in their places are
calls of `stored_value`, which read them where the worker says that they are (`read_stored_with`).

Calls without futures pay for two assignments to a thread-local and nothing else. Pickles in databases name
`resolve` and `stored_value`: they are never renamed or moved.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
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


ReadStored = Callable[[str, int, int, str], Any]
"""Reads a value by the name, the size and the checksum of its blob, and its encoding."""
_read_stored: ReadStored | None = None


def read_stored_with(read: ReadStored) -> None:
    """Have this process read large values of arguments so from now on."""
    global _read_stored  # a worker has one place for them
    _read_stored = read


def stored_value(name: str, size: int, checksum: int, encoding: str) -> Any:
    """Return a large value that was stored by itself; called by unpickling.

    Raises:
        LookupError: This process is no worker, and does not read them.
        OSError: It is not there.
    """
    if _read_stored is None:
        raise LookupError(f"an argument of {size:,} bytes is stored as {name}, which only workers read")
    return _read_stored(name, size, checksum, encoding)
