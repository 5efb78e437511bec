"""What of a filter the control plane itself can look for. Pure.

Invariant: what is asked for here fits at least every run that the filter fits; whether one does is tested
again (see `matching`).
"""

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from taskyard._data.runs.tracking import tracked_flow_run
from taskyard.client.schemas.filters import FlowFilter, FlowRunFilter, Operator, TaskRunFilter
from taskyard.exceptions import SearchTooWide
from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_contract.states import RunKind, RunState, shown_as

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_IDS: Final = 1_000
"""As many as one request takes."""
_MOST_TAGS: Final = 100
_LONGEST_NAME: Final = 1_024


class Nothing(Exception):
    """No run can fit."""


def narrowed(
    kind: RunKind,
    runs: "FlowRunFilter | TaskRunFilter | None",
    flows: "FlowFilter | None" = None,
) -> pb.RunFilter:
    """Return which runs to ask for.

    Args:
        kind: Of tasks, or of flows. With a filter of task runs, flow runs are asked for by tracking runs.
        runs: Which of them; None for all.
        flows: Runs of which flows; only for runs of flows.

    Raises:
        Nothing: No run can fit.
        SearchTooWide: More ids are wanted than a request takes.
    """
    if isinstance(runs, TaskRunFilter) and not _may_be_of(runs, kind):
        raise Nothing
    asked = pb.RunFilter(kind=int(kind))  # type: ignore[arg-type]  # numerically equal
    if flows is not None and flows.operator is Operator.and_ and flows.name is not None:
        names = flows.name.any_
        if names is not None and not names:
            raise Nothing
        if names is not None and _only(names):
            asked.task_name = names[0]
    if runs is not None and runs.operator is Operator.and_:
        _narrow_by_runs(asked, runs)
    return asked


def _narrow_by_runs(asked: pb.RunFilter, runs: "FlowRunFilter | TaskRunFilter") -> None:
    tracking = isinstance(runs, TaskRunFilter) and int(asked.kind) == RunKind.FLOW
    if runs.id is not None and runs.id.any_ is not None:
        asked.run_ids.extend(_ids_of(runs.id.any_, f"{type(runs).__name__}.id.any_", runs, tracking))
    if not tracking:  # their names are not recorded
        _narrow_by_name(asked, runs.name)
    if runs.tags is not None and runs.tags.operator is Operator.and_ and runs.tags.all_:
        asked.tags.extend(runs.tags.all_[:_MOST_TAGS])
    if runs.state is not None and runs.state.operator is Operator.and_ and runs.state.type is not None:
        asked.states.extend(_states(runs.state.type))
    if runs.expected_start_time is not None:
        after, before = runs.expected_start_time.after_, runs.expected_start_time.before_
        asked.submitted_from_us = max(_microseconds(after), 0) if after is not None else 0
        asked.submitted_before_us = max(_microseconds(before) + 1, 1) if before is not None else 0
    if isinstance(runs, TaskRunFilter):
        asked.flow_run_id = _single(runs.flow_run_id)
    else:
        asked.flow_run_id = _single(runs.parent_flow_run_id)
        parent = _single(runs.parent_task_run_id)
        if not tracked_flow_run(parent):
            asked.caller_run_id = parent
        elif not asked.run_ids:
            asked.run_ids.append(tracked_flow_run(parent))


def _may_be_of(runs: TaskRunFilter, kind: RunKind) -> bool:
    """Say whether runs of a kind are asked for, of flows as their tracking runs."""
    part = runs.subflow_runs
    if part is None or part.exists_ is None or runs.operator is not Operator.and_:
        return True
    return part.exists_ is (kind is RunKind.FLOW)


def _ids_of(ids: "Sequence[UUID]", where: str, runs: Any, tracking: bool) -> list[bytes]:
    """Return the ids of the records that are asked for: of task runs, or of the subflows of tracking runs.

    Raises:
        Nothing: There are none.
    """
    found = checked_ids(ids, where)
    if tracking:
        found = list(filter(None, map(tracked_flow_run, found)))
    elif isinstance(runs, TaskRunFilter):
        found = [each for each in found if not tracked_flow_run(each)]
    if not found:
        raise Nothing
    return found


def checked_ids(ids: "Sequence[UUID]", where: str) -> list[bytes]:
    """Return ids as requests have them, each once.

    Raises:
        Nothing: There are none.
        SearchTooWide: There are more than a request takes.
    """
    if not ids:
        raise Nothing
    ids = list(dict.fromkeys(ids))
    if len(ids) > MOST_IDS:
        raise SearchTooWide(f"{where} has {len(ids):,} ids; at most {MOST_IDS:,} can be asked for at once")
    return [each.bytes for each in ids]


def _narrow_by_name(asked: pb.RunFilter, name: Any) -> None:
    """Ask for a part of the name: a whole one cannot be asked for."""
    if name is None:
        return
    if name.any_ is not None and not name.any_:
        raise Nothing
    part = name.any_[0] if name.any_ is not None and _only(name.any_) else name.like_
    # Databases and Python know different small letters beyond ASCII.
    if part and part.isascii() and "\0" not in part and len(part) <= _LONGEST_NAME:
        asked.name_contains = part


def _only(names: "Sequence[str]") -> bool:
    return len(names) == 1 and 0 < len(names[0].encode()) <= _LONGEST_NAME


def _states(types: Any) -> list[Any]:
    """Return the control plane's states that are shown with the types that are wanted."""
    wanted, unwanted = types.any_, types.not_any_ or []
    if wanted is None and not unwanted:
        return []
    shown = {state: shown_as(state)[0] for state in RunState}
    found = [
        int(state)
        for state, kind in shown.items()
        if (wanted is None or kind in wanted) and kind not in unwanted
    ]
    if not found:
        raise Nothing
    return found


def _single(part: Any) -> bytes:
    """Return the id, if one is wanted and nothing else may take its place."""
    if part is None or part.operator is Operator.or_ or part.any_ is None:
        return b""
    if not part.any_:
        raise Nothing
    return part.any_[0].bytes if len(part.any_) == 1 else b""


def _microseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)
