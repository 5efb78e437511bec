"""Edges between runs: what a run asks of those it depends on. Pure."""

from collections.abc import Sequence
from typing import Final

from taskyard_contract.states import RunState, UpstreamKind

Edge = tuple[bytes, int]
"""The id of an upstream run, and the kind of the edge."""

EDGE_BYTES: Final = 17
"""Of an edge in a run's row: an id, and a byte for its kind."""
_COMPLETED: Final = int(RunState.COMPLETED)
_FORGIVEN: Final = (int(RunState.FAILED), int(RunState.NOT_READY))
_FORGIVING: Final = int(UpstreamKind.DATA_OR_FAILURE)
NOT_COMPLETED: Final = int(UpstreamKind.NOT_COMPLETED)
IF_SUBMITTED: Final = int(UpstreamKind.IF_SUBMITTED)
_RECORDED: Final = int(UpstreamKind.RESULT)
"""Kinds from here on say where a value came from, and there is nothing to wait for."""
_KINDS: Final = [bytes((kind,)) for kind in range(256)]


def pack_edges(edges: Sequence[Edge]) -> bytes:
    """Write a run's list of upstream runs as its row has it."""
    return b"".join([upstream_id + _KINDS[kind] for upstream_id, kind in edges])


def split_edges(packed: bytes) -> list[Edge]:
    """Read a run's list of upstream runs."""
    if len(packed) == EDGE_BYTES:  # most have one, and a million of them are read at a start
        return [(packed[:16], packed[16])]
    return [(packed[start : start + 16], packed[start + 16]) for start in range(0, len(packed), EDGE_BYTES)]


def awaited(edges: Sequence[Edge]) -> Sequence[Edge]:
    """Return the edges that a run waits for: all but those that only record where its values came from."""
    for _, kind in edges:
        if kind >= _RECORDED:
            return [edge for edge in edges if edge[1] < _RECORDED]
    return edges


def awaits(packed: bytes) -> bool:
    """Say whether any edge of a run's list, as its row has it, is one that the run waits for."""
    return any(kind < _RECORDED for kind in packed[EDGE_BYTES - 1 :: EDGE_BYTES])


def accepts(kind: int, state: int) -> bool:
    """Whether an edge of this kind is content with an upstream run that ended so (semantics B7)."""
    if kind >= NOT_COMPLETED:
        return kind == IF_SUBMITTED or state > _COMPLETED
    return state == _COMPLETED or (kind >= _FORGIVING and state in _FORGIVEN)


def waits_late(edges: Sequence[Edge]) -> bool:
    """Whether any of these edges leads to a run that may never be submitted, or not before this one."""
    return any(kind == IF_SUBMITTED for _, kind in edges)
