"""What can be asked of a listing: checked before anything is made of it, and put as what is recorded.

Two things of an open run are known to its owner alone: its state, unless that is PENDING, and which agent
executes it. So the database is asked for all open runs instead, and these are picked afterwards (`Pick`).
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_contract.errors import InvalidRequest
from taskyard_contract.ids import ID_BYTES
from taskyard_contract.states import FIRST_FINAL, RunKind, RunState
from taskyard_contract.wire_text import NAME_LIMIT
from taskyard_controlplane.storage.interface import RunFilter

_STATES: Final = frozenset(int(state) for state in RunState if state)
_KINDS: Final = frozenset(int(kind) for kind in RunKind)
_SHOWN: Final = 5
OPEN_STATES: Final = tuple(state for state in RunState if state < FIRST_FINAL)
MOST_RUN_IDS: Final = 1_000
MOST_TAGS: Final = 100
_LATEST_US: Final = 1 << 62


def check_filter(wanted: pb.RunFilter) -> pb.RunFilter:
    """Return a filter of runs.

    Raises:
        InvalidRequest: A field of it is malformed, or names what does not exist.
    """
    if wanted.kind and wanted.kind not in _KINDS:
        text = f"filter.kind is {int(wanted.kind)}, which is no kind of runs"
        raise InvalidRequest(text, field="filter.kind")
    for field in ("flow_run_id", "caller_run_id"):
        _check_id(field, getattr(wanted, field))
    _check_count("run_ids", len(wanted.run_ids), MOST_RUN_IDS)
    for run_id in wanted.run_ids:
        if not run_id:
            raise InvalidRequest("filter.run_ids has an empty id", field="filter.run_ids")
        _check_id("run_ids", run_id)
    if len(wanted.states) > len(_STATES):
        raise InvalidRequest(
            f"filter.states has {len(wanted.states)} entries; name each of the {len(_STATES)} states once",
            limit=len(_STATES),
            field="filter.states",
        )
    _check_states(wanted.states)
    _check_texts(wanted)
    for field in ("submitted_from_us", "submitted_before_us"):
        if not 0 <= getattr(wanted, field) <= _LATEST_US:
            text = f"filter.{field} is no time, in microseconds since the epoch"
            raise InvalidRequest(text, field=f"filter.{field}")
    return wanted


def _check_id(field: str, value: bytes) -> None:
    if value and len(value) != ID_BYTES:
        text = f"filter.{field} has {len(value)} bytes; a run id has {ID_BYTES}"
        raise InvalidRequest(text, field=f"filter.{field}")


def _check_count(field: str, count: int, most: int) -> None:
    if count > most:
        text = f"filter.{field} has {count} entries; at most {most} are taken"
        raise InvalidRequest(text, limit=most, field=f"filter.{field}")


def _check_texts(wanted: pb.RunFilter) -> None:
    _check_count("tags", len(wanted.tags), MOST_TAGS)
    texts = [("tags", tag) for tag in wanted.tags]
    texts += [
        (field, getattr(wanted, field))
        for field in ("name_contains", "task_name", "task_key", "queue", "agent_name")
    ]
    for field, text in texts:
        size = len(text.encode())
        if size > NAME_LIMIT:
            text = f"filter.{field} has {size} bytes; names have at most {NAME_LIMIT}"
            raise InvalidRequest(text, limit=NAME_LIMIT, field=f"filter.{field}")


def _check_states(states: Iterable[int]) -> None:
    unknown = sorted({int(state) for state in states} - _STATES)
    if unknown:
        text = f"filter.states names what is no state: {str(unknown[:_SHOWN])[1:-1]}"
        raise InvalidRequest(text, field="filter.states")


def check_order(order: int) -> bool:
    """Whether runs are listed oldest first.

    Raises:
        InvalidRequest: It is no order.
    """
    if order not in pb.RunOrder.values():
        raise InvalidRequest(f"order is {int(order)}, which is no order of runs", field="order")
    return order == pb.RUN_ORDER_OLDEST_FIRST


def check_view(view: int) -> bool:
    """Whether all of a run is told.

    Raises:
        InvalidRequest: It is no view.
    """
    if view not in pb.RunView.values():
        raise InvalidRequest(f"view is {int(view)}, which is no view of runs", field="view")
    return view == pb.RUN_VIEW_FULL


def recorded_filter(
    wanted: pb.RunFilter, flow_seq: int | None, run_ids: Iterable[bytes] | None = None
) -> RunFilter:
    """Translate a filter into what the database has recorded.

    Args:
        wanted: The filter, checked.
        flow_seq: The number of the flow run that it names.
        run_ids: The runs it is about, where that is known better than the filter says it.
    """
    states: tuple[int, ...] = tuple(state for state in wanted.states if state >= FIRST_FINAL)
    if len(states) < len(wanted.states):
        states += OPEN_STATES
    if wanted.agent_name:
        states = OPEN_STATES  # nobody executes what has ended
    named = wanted.run_ids or None if run_ids is None else run_ids
    return RunFilter(
        kind=int(wanted.kind),
        flow_seq=flow_seq,
        states=states,
        name_contains=wanted.name_contains,
        run_ids=None if named is None else tuple(named),
        task_name=wanted.task_name,
        task_key=wanted.task_key,
        tags=tuple(wanted.tags),
        queue=wanted.queue,
        caller_id=wanted.caller_run_id,
        from_us=wanted.submitted_from_us,
        before_us=wanted.submitted_before_us,
    )


class Pick(NamedTuple):
    """What a filter says of a run that changes while it is open."""

    states: frozenset[int]
    agent_name: str

    @classmethod
    def of(cls, wanted: pb.RunFilter) -> "Pick":
        """Return what a filter says of it."""
        return cls(frozenset(int(state) for state in wanted.states), wanted.agent_name)

    def fits(self, run: pb.Run) -> bool:
        """Whether a run fits at the moment, if it does otherwise. One that has ended names its agent, too."""
        return (not self.states or run.state in self.states) and (
            not self.agent_name or (run.agent_name == self.agent_name and run.state < FIRST_FINAL)
        )

    @property
    def ends(self) -> frozenset[int] | None:
        """The states in one of which a run has ended if it fits; None when it may be open."""
        may_be_open = self.agent_name or not self.states or min(self.states) < FIRST_FINAL
        return None if may_be_open else self.states

    @property
    def can_be_left(self) -> bool:
        """Whether a run that fits may later fit no more: nothing leaves a final state."""
        return bool(self.agent_name) or any(state < FIRST_FINAL for state in self.states)
