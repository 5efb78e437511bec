"""What can be asked of a listing, checked before anything is made of it."""

from collections.abc import Iterable
from typing import Final

from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_contract.errors import InvalidRequest
from taskyard_contract.ids import ID_BYTES
from taskyard_contract.states import RunKind, RunState
from taskyard_contract.wire_text import NAME_LIMIT

_STATES: Final = frozenset(int(state) for state in RunState if state)
_KINDS: Final = frozenset(int(kind) for kind in RunKind)
_SHOWN: Final = 5


def check_filter(wanted: pb.RunFilter) -> pb.RunFilter:
    """Return a filter of runs.

    Raises:
        InvalidRequest: A field of it is malformed, or names what does not exist.
    """
    if wanted.kind and wanted.kind not in _KINDS:
        text = f"filter.kind is {int(wanted.kind)}, which is no kind of runs"
        raise InvalidRequest(text, field="filter.kind")
    if wanted.flow_run_id and len(wanted.flow_run_id) != ID_BYTES:
        raise InvalidRequest(
            f"filter.flow_run_id has {len(wanted.flow_run_id)} bytes; a run id has {ID_BYTES}",
            field="filter.flow_run_id",
        )
    if len(wanted.states) > len(_STATES):
        raise InvalidRequest(
            f"filter.states has {len(wanted.states)} entries; name each of the {len(_STATES)} states once",
            limit=len(_STATES),
            field="filter.states",
        )
    _check_states(wanted.states)
    size = len(wanted.name_contains.encode())
    if size > NAME_LIMIT:
        raise InvalidRequest(
            f"filter.name_contains has {size} bytes; names have at most {NAME_LIMIT}",
            limit=NAME_LIMIT,
            field="filter.name_contains",
        )
    return wanted


def _check_states(states: Iterable[int]) -> None:
    unknown = sorted({int(state) for state in states} - _STATES)
    if unknown:
        text = f"filter.states names what is no state: {str(unknown[:_SHOWN])[1:-1]}"
        raise InvalidRequest(text, field="filter.states")
