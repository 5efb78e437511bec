"""What is taken from a queue at a time: runs from its front that go into one chunk."""

from collections import deque
from typing import Final

from taskyard_contract.states import RunState
from taskyard_controlplane.domain.memory import INPUT_OVERHEAD, size_of
from taskyard_controlplane.domain.model import Run

READY: Final = int(RunState.READY)
MAX_CHUNK_BYTES: Final = 512 * 1024
"""Where a chunk of large arguments ends: it is copied several times, and one worker gets all of it."""

SHARED_BYTES: Final = 1024
"""A larger input is in a chunk once, however many of its runs need it."""


def drop_stale(runs: deque[Run]) -> None:
    """Drop runs from the front that cannot start any more.

    Those that were cancelled or adopted while they waited are still in the deque; their state says so.
    """
    while runs and runs[0].state != READY:
        runs.popleft().queued = False


def take_alike(runs: deque[Run], limit: int) -> list[Run]:
    """Take up to `limit` runs of one template and flow run from the front."""
    drop_stale(runs)
    if not runs:
        return []
    template, flow = runs[0].template, runs[0].flow
    taken: list[Run] = []
    size = 0
    shared: set[bytes] = set()
    while runs and len(taken) < limit:
        run = runs[0]
        if run.state != READY:
            runs.popleft().queued = False
            continue
        if run.template is not template or run.flow is not flow:
            break
        args = run.args
        if args:
            size += len(args) if type(args) is bytes else size_of(args)
        if run.inputs:
            size += _input_bytes(run, shared)
        if run.headers or run.name or run.args_blob:
            size += _extra_bytes(run)
        if size > MAX_CHUNK_BYTES and taken:
            break
        runs.popleft().queued = False
        taken.append(run)
    return taken


def _extra_bytes(run: Run) -> int:
    """Return what few runs have beside arguments and inputs, and adds to a chunk as well."""
    return len(run.headers or b"") + len(run.name or "") + len(run.args_blob or b"")


def _input_bytes(run: Run, shared: set[bytes]) -> int:
    """Return what the inputs of a run add to a chunk; those that are in it already are in `shared`."""
    inputs = run.inputs or ()
    size = INPUT_OVERHEAD * len(inputs) + run.input_bytes
    if run.input_bytes > SHARED_BYTES:
        for upstream_id, result, outcome in inputs:
            each = size_of(result if outcome is None else outcome)
            if each > SHARED_BYTES:
                if upstream_id in shared:
                    size -= each
                shared.add(upstream_id)
    return size
