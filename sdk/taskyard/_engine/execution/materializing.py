"""What is recorded of assets when a run that materializes them has ended, before its report leaves.

Invariant: a run whose work is done does not fail because nothing could be recorded; its log says so then.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from taskyard import settings
from taskyard._data.runs.state import State
from taskyard._engine.assets.asset import MOST_UPSTREAM_BYTES, Asset, metadata_of
from taskyard._engine.assets.records import Materialization, note, note_needed
from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard.context import TaskRunContext
from taskyard.logging import get_run_logger
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.clock import wall_time
from taskyard_contract.execution import Invocation
from taskyard_contract.states import RunState, StateReason

_needed: Final[set[str]] = set()
"""Assets that this process has seen recorded, by server and key: it need not ask again."""
_MOST_NEEDED: Final = 10_000


def note_end(
    task: TaskDefinition[..., Any], context: TaskRunContext, invocation: Invocation, state: State[Any]
) -> None:
    """Record what became of the assets of a run, and which it needed.

    Args:
        task: A task that materializes.
        context: Its run.
        invocation: The same, as it arrived.
        state: What it ends in.
    """
    run, flow_run_id = context.task_run, context.flow_run_id
    made = Materialization(
        run_id=str(run.id),
        flow_run_id=None if flow_run_id is None else str(flow_run_id),
        run_name=run.name,
        task=task.name,
        succeeded=state.is_completed() and state.name != "RolledBack",
        at=wall_time(),
        state=state.name,
        epoch=invocation.epoch,
    )
    try:
        _note(task, made, metadata_of(context))
    except Exception:  # of the network, or of what is stored: any
        get_run_logger(context).exception("what this run made could not be recorded of its assets")


def note_killed(task: TaskDefinition[..., Any], flow_run_id: bytes, outcome: pb.RunOutcome) -> None:
    """Record that an agent has ended the worker of a run, whose time was up, so that it could say nothing.

    What the worker has recorded all the same stays.

    Args:
        task: A task that materializes.
        flow_run_id: Of the flow run around; empty for none.
        outcome: What became of the run.
    """
    if int(outcome.state) != RunState.FAILED or int(outcome.reason) != StateReason.TIMED_OUT:
        return
    made = Materialization(
        run_id=str(UUID(bytes=outcome.run_id)),
        flow_run_id=str(UUID(bytes=flow_run_id)) if flow_run_id else None,
        run_name=outcome.run_name,
        task=task.name,
        succeeded=False,
        at=datetime.fromtimestamp(outcome.ended_us / 1_000_000, UTC),
        state="TimedOut",
    )
    _note(task, made, {})


def _note(task: Any, made: Materialization, metadata: dict[str, dict[str, Any]]) -> None:
    upstream: dict[str, Asset] = {each.key: each for each in task.settings.asset_deps}
    upstream.update((each.key, each) for each in task.upstream_assets)
    keys = _first_of(sorted(upstream))
    made = replace(
        made,
        materialized_by=task.settings.materialized_by,
        upstream=keys,
        upstream_left_out=len(upstream) - len(keys),
    )
    for asset in task.settings.assets:
        note(asset, replace(made, metadata=metadata.get(asset.key, {})))
    for asset in upstream.values():
        _note_needed(asset)


def _first_of(keys: list[str]) -> list[str]:
    """Return those that fit into what is recorded of a run: else nothing of it would be."""
    size = 0
    for index, key in enumerate(keys):
        size += len(json.dumps(key)) + len(", ")
        if size > MOST_UPSTREAM_BYTES:
            return keys[:index]
    return keys


def _note_needed(asset: Asset) -> None:
    known = f"{settings.server()} {asset.key}"
    if known in _needed:
        return
    note_needed(asset)
    if len(_needed) >= _MOST_NEEDED:
        _needed.clear()
    _needed.add(known)
