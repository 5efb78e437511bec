"""Schemas, made from the control plane's messages. Pure, but for values, which are read when asked for."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid5

from taskyard._data.runs.recorded import from_listed_run
from taskyard._data.runs.tracking import parent_task_run
from taskyard._data.values.failures import Decode
from taskyard._data.values.shown_parameters import parameter_document
from taskyard.client.schemas.objects import (
    Flow,
    FlowRun,
    FlowRunPolicy,
    FlowRunResult,
    TaskRun,
    TaskRunResult,
)
from taskyard_contract.states import RunState, UpstreamKind

if TYPE_CHECKING:
    from taskyard_api.v1.run_service_pb2 import Run
    from taskyard_api.v1.template_pb2 import RetryPolicy

ReadAgain = Callable[["Run"], "Run"]
"""Reads a run again, with its result."""

_FLOWS: Final = UUID("3a0ddc6e-6c0b-5b0c-9d3b-52f1a4f1b7f5")
"""Drawn once, never to be changed: ids of flows are made of it."""
_TO_BEGIN: Final = (
    RunState.PENDING,
    RunState.READY,
    RunState.ASSIGNED,
    RunState.AWAITING_RETRY,
    RunState.AWAITING_CACHE,
)
_DATA: Final = (
    UpstreamKind.DATA,
    UpstreamKind.DATA_OR_FAILURE,
    UpstreamKind.RESULT,
    UpstreamKind.FLOW_RESULT,
)


def flow_id_of(name: str) -> UUID:
    """Return the id of the flow of a name: flows are known by the names that their runs have."""
    return uuid5(_FLOWS, name)


def flow_of(name: str) -> Flow:
    """Return the flow of a name."""
    return Flow(id=flow_id_of(name), name=name)


def flow_run_schema(run: "Run", decode: Decode, read: ReadAgain) -> FlowRun:
    """Return a flow run.

    Args:
        run: The message, with arguments and template if they are to be told.
        decode: Turns a payload into a value.
        read: Reads it again, with its result.
    """
    return FlowRun(
        **_common(run, decode, read),
        flow_id=flow_id_of(run.task_name),
        flow_name=run.task_name,
        flow_version=run.template.version or None,
        parameters=parameter_document(run) or {},
        empirical_policy=_policy(run.template.retry),
        parent_flow_run_id=id_or_none(run.flow_run_id),
        parent_task_run_id=id_or_none(parent_task_run(run)),
    )


def task_run_schema(run: "Run", decode: Decode, read: ReadAgain) -> TaskRun:
    """Return a task run; the arguments are those of `flow_run_schema`."""
    flow_run = id_or_none(run.flow_run_id)
    caller = id_or_none(run.caller_run_id)
    return TaskRun(
        **_common(run, decode, read),
        task_name=run.task_name,
        task_key=run.task_key,
        flow_run_id=flow_run,
        parent_task_run_id=None if caller == flow_run else caller,
        cache_key=run.cache_key or None,
        task_inputs=_inputs(run),
    )


def _common(run: "Run", decode: Decode, read: ReadAgain) -> dict[str, Any]:
    state = from_listed_run(run, decode, lambda: read(run))
    return {
        "id": UUID(bytes=run.run_id),
        "name": run.name,
        "created": moment(run.submitted_us),
        "tags": list(run.tags),
        "run_count": attempts_begun(run),
        "expected_start_time": moment(run.submitted_us),
        "next_scheduled_start_time": moment(run.due_us),
        "start_time": moment(run.started_us),
        "end_time": moment(run.ended_us),
        "total_run_time": _took(run),
        "state": state,
        "state_type": state.type,
        "state_name": state.name,
    }


def attempts_begun(run: "Run") -> int:
    """Return how many attempts of a run were begun: its number counts one that is still to begin.

    An attempt that was lost with its worker, and begins again, counts once.
    """
    begun = run.started_us and int(run.state) not in _TO_BEGIN
    return run.attempt if begun else max(run.attempt - 1, 0)


def _took(run: "Run") -> timedelta:
    if not (run.started_us and run.ended_us):
        return timedelta(0)
    return timedelta(microseconds=max(run.ended_us - run.started_us, 0))


def _policy(retry: "RetryPolicy") -> FlowRunPolicy:
    delays = [each / 1000 for each in retry.delays_ms]
    delay = delays[0] if len(delays) == 1 else delays or None
    return FlowRunPolicy(retries=retry.max_retries, retry_delay=delay)


def _inputs(run: "Run") -> dict[str, list[TaskRunResult | FlowRunResult]]:
    found: dict[str, list[TaskRunResult | FlowRunResult]] = {}
    for edge in run.upstream:
        name = "arguments" if int(edge.kind) in _DATA else "wait_for"
        made = FlowRunResult if int(edge.kind) == UpstreamKind.FLOW_RESULT else TaskRunResult
        found.setdefault(name, []).append(made(id=UUID(bytes=edge.run_id)))
    return found


def id_or_none(raw: bytes) -> UUID | None:
    """Return an id of a message; None for none."""
    return UUID(bytes=raw) if raw else None


def moment(at_us: int) -> datetime | None:
    """Return a time of a message; None for none."""
    return datetime.fromtimestamp(at_us / 1_000_000, UTC) if at_us else None
