"""Whether a run fits a filter. Pure.

Everything that a filter says is tested here, run by run; what is asked of the control plane only spares it
most runs that do not fit (see `narrowing`).
"""

from collections.abc import Callable, Iterable
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from taskyard._data.runs.tracking import parent_task_run, tracked_flow_run
from taskyard.client.reading.schemas_of import flow_id_of, id_or_none, moment
from taskyard.client.schemas.filters import Operator
from taskyard_contract.states import shown_as

if TYPE_CHECKING:
    from pydantic import BaseModel

    from taskyard.client.schemas.filters import FlowFilter, FlowRunFilter, TaskRunFilter
    from taskyard_api.v1.run_service_pb2 import Run

RunTest = Callable[["Run"], bool]
Read = Callable[[Any], Any]
"""Reads what a part of a filter is about."""


def _state_of(run: "Run") -> tuple[Enum, str]:
    return shown_as(run.state, run.reason, run.state_name, run.attempt)


_FLOW: Final[dict[str, Read]] = {
    "id": lambda run: flow_id_of(run.task_name),
    "name": lambda run: run.task_name,
}
_RUN: Final[dict[str, Read]] = {
    "id": lambda run: id_or_none(run.run_id),
    "name": lambda run: run.name,
    "tags": lambda run: set(run.tags),
    "start_time": lambda run: moment(run.started_us),
    "end_time": lambda run: moment(run.ended_us),
    "expected_start_time": lambda run: moment(run.submitted_us),
    "next_scheduled_start_time": lambda run: moment(run.due_us),
    "flow_run_id": lambda run: id_or_none(run.flow_run_id),
    "parent_flow_run_id": lambda run: id_or_none(run.flow_run_id),
    "parent_task_run_id": lambda run: id_or_none(parent_task_run(run)),
    "subflow_runs": lambda run: bool(tracked_flow_run(run.run_id)),
}
_STATE: Final[dict[str, Read]] = {
    "type": lambda run: _state_of(run)[0],
    "name": lambda run: _state_of(run)[1],
}


def _is_any(value: Any, wanted: Iterable[Any]) -> bool:
    if isinstance(value, set):
        return not value.isdisjoint(wanted)
    return value in wanted


_SAYS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "any_": _is_any,
    "not_any_": lambda value, wanted: value not in wanted,
    "all_": lambda value, wanted: value.issuperset(wanted),
    "like_": lambda value, wanted: wanted.lower() in value.lower(),
    "before_": lambda value, wanted: value is not None and value <= wanted,
    "after_": lambda value, wanted: value is not None and value >= wanted,
    "ge_": lambda value, wanted: value >= wanted,
    "le_": lambda value, wanted: value <= wanted,
    "exists_": lambda value, wanted: value is wanted,
    "is_null_": lambda value, wanted: (value is None or value == set()) is wanted,
}
"""What each field of the parts of filters says of a value."""


def flow_test(wanted: "FlowFilter | None") -> RunTest | None:
    """Return what says whether a flow run is of one of the flows that are wanted; None: all are."""
    return _combined(wanted, _parts(wanted, _FLOW)) if wanted is not None else None


def run_test(wanted: "FlowRunFilter | TaskRunFilter | None") -> RunTest | None:
    """Return what says whether a run fits; None: all do."""
    if wanted is None:
        return None
    tests = _parts(wanted, _RUN)
    if wanted.state is not None:
        test = _combined(wanted.state, _parts(wanted.state, _STATE))
        tests += [test] if test is not None else []
    return _combined(wanted, tests)


def all_of(tests: Iterable[RunTest | None]) -> RunTest | None:
    """Return the test of passing all of these; None is one that all runs pass."""
    needed = [test for test in tests if test is not None]
    if not needed:
        return None
    return lambda run: all(test(run) for test in needed)


def parts_test(wanted: "BaseModel", reads: dict[str, Read]) -> Callable[[Any], bool] | None:
    """Return the test of a filter of other things, whose parts are about what `reads` read; None: all fit."""
    return _combined(wanted, _parts(wanted, reads))


def _parts(wanted: "BaseModel", reads: dict[str, Read]) -> list[RunTest]:
    """Return the test of each part of a filter that says something."""
    parts = ((read, getattr(wanted, name, None)) for name, read in reads.items())
    tests = ((read, _part(part)) for read, part in parts if part is not None)
    return [_reading(read, test) for read, test in tests if test is not None]


def _reading(read: Read, test: Callable[[Any], bool]) -> RunTest:
    return lambda run: test(read(run))


def _part(part: "BaseModel") -> Callable[[Any], bool] | None:
    """Return what one part says of a value; None when it says nothing."""
    said = [(says, getattr(part, name, None)) for name, says in _SAYS.items()]
    return _combined(part, [_saying(says, wanted) for says, wanted in said if wanted is not None])


def _saying(says: Callable[[Any, Any], bool], wanted: Any) -> Callable[[Any], bool]:
    return lambda value: says(value, wanted)


def _combined(by: Any, tests: list[Callable[[Any], bool]]) -> Callable[[Any], bool] | None:
    """Combine tests as a filter, or a part of one, says it; nothing fits no condition that is not there."""
    if not tests:
        return None
    combine = any if getattr(by, "operator", Operator.and_) == Operator.or_ else all
    return lambda value: combine(test(value) for test in tests)
