"""Runs, agents, tasks, log records and cached results as plain documents, for ``--json``. Pure.

Invariant: a document has the same keys whatever the run went through; what is not known is null. Ids are UUID
text, times are ISO 8601 in UTC.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from taskyard_contract.ids import format_id
from taskyard_contract.states import AgentState, RunKind, StateReason, UpstreamKind, WaitReason, shown_as

if TYPE_CHECKING:
    from taskyard_api.v1.admin_service_pb2 import Agent, Task
    from taskyard_api.v1.cache_service_pb2 import CacheEntry
    from taskyard_api.v1.failure_pb2 import Failure
    from taskyard_api.v1.run_service_pb2 import (
        CountRunsResponse,
        Explanation,
        ListRunLogsResponse,
        Run,
        RunRef,
        RunStateEntry,
        TailRunLogsResponse,
        Wait,
    )

Document = dict[str, Any]


def name_in(kind: type[IntEnum], value: int) -> str:
    """Return the name of an enum's member; a newer server may send one that this release has not."""
    try:
        return kind(value).name
    except ValueError:
        return f"UNKNOWN_{value}"


def state_of(run: "Run | RunStateEntry") -> tuple[str, str]:
    """Return the type and the name of a state, as users see them."""
    try:
        state_type, name = shown_as(run.state, run.reason, run.state_name, run.attempt)
    except ValueError:
        return "UNKNOWN", f"Unknown{run.state}"
    return state_type.value, name


def moment(at_us: int) -> str | None:
    """Return a time as text, None for none."""
    if not at_us:
        return None
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).isoformat(timespec="milliseconds")


def run_document(run: "Run") -> Document:
    """Return what is recorded of a run, its arguments and its result left out."""
    state_type, state_name = state_of(run)
    return {
        "id": format_id(run.run_id),
        "kind": name_in(RunKind, run.kind).lower(),
        "name": run.name,
        "task_name": run.task_name,
        "task_key": run.task_key or None,
        "flow_run_id": format_id(run.flow_run_id) or None,
        "caller_run_id": format_id(run.caller_run_id) or None,
        "state": state_type,
        "state_name": state_name,
        "reason": _reason(run.reason),
        "message": run.message or None,
        "attempt": run.attempt,
        "infra_retries": run.infra_retries,
        "submitted": moment(run.submitted_us),
        "started": moment(run.started_us),
        "ended": moment(run.ended_us),
        "queue": run.queue or None,
        "tags": list(run.tags),
        "agent": run.agent_name or None,
        "cache_key": run.cache_key or None,
        "cached_run_id": format_id(run.cached_run_id) or None,
        "upstream": [
            {"id": format_id(edge.run_id), "kind": name_in(UpstreamKind, edge.kind).lower()}
            for edge in run.upstream
        ],
        "failure": failure_document(run.failure) if run.HasField("failure") else None,
    }


def explanation_document(run: "Run", explained: "Explanation") -> Document:
    """Return why a run waits."""
    return {
        "id": format_id(explained.run_id),
        "name": explained.name or run.name,
        "state_name": shown_state(explained.state) if explained.state else None,
        "waits": [wait_document(wait) for wait in explained.waits],
    }


def wait_document(wait: "Wait") -> Document:
    """Return one reason to wait."""
    return {
        "reason": name_in(WaitReason, wait.reason).lower(),
        "message": wait.message,
        "about": _ref_document(wait.about) if wait.HasField("about") else None,
        "queue": wait.queue or None,
        "priority": wait.priority if wait.queue else None,
        "ahead": wait.ahead,
        "whose": [
            {
                "runs": others.runs,
                "name": others.name or None,
                "flow_run_id": format_id(others.flow_run_id) or None,
                "own": others.own,
                "takes_turns": others.takes_turns,
            }
            for others in wait.whose
        ],
        "executing": wait.executing,
        "runs": [_ref_document(run) for run in wait.runs],
        "runs_left": wait.runs_left,
        "due": moment(wait.due_us),
        "agent": wait.agent_name or None,
        "condition": wait.agent_condition or None,
        "missing": dict(wait.missing),
    }


def _ref_document(run: "RunRef") -> Document:
    return {
        "id": format_id(run.run_id),
        "name": run.name or None,
        "state_name": shown_state(run.state) if run.state else None,
    }


def state_document(entry: "RunStateEntry") -> Document:
    """Return one state of a history."""
    state_type, state_name = state_of(entry)
    return {
        "state": state_type,
        "state_name": state_name,
        "reason": _reason(entry.reason),
        "message": entry.message or None,
        "at": moment(entry.at_us),
        "attempt": entry.attempt,
    }


def failure_document(failure: "Failure") -> Document:
    """Return an exception and what caused it."""
    return {
        "type": failure.type,
        "message": failure.message,
        "traceback": failure.traceback or None,
        "cause": failure_document(failure.cause) if failure.HasField("cause") else None,
    }


def agent_document(agent: "Agent") -> Document:
    """Return what the control plane knows of an agent, as of this moment."""
    return {
        "id": agent.agent_id,
        "name": agent.name,
        "state": name_in(AgentState, agent.state),
        "condition": agent.condition or None,
        "slots": agent.slots,
        "held_runs": agent.held_runs,
        "memory_used_bytes": agent.memory_used_bytes or None,
        "memory_total_bytes": agent.memory_total_bytes or None,
        "queues": list(agent.queues),
        "labels": dict(agent.labels),
        "capabilities": list(agent.capabilities),
        "version": agent.version,
        "connected": moment(agent.connected_us),
        "last_seen": moment(agent.last_seen_us),
    }


def count_document(counts: "CountRunsResponse") -> Document:
    """Return how many runs are in each state, and how far back that was looked for."""
    return {
        "states": {shown_state(count.state): count.runs for count in counts.counts},
        "runs": sum(count.runs for count in counts.counts),
        "searched_to": moment(counts.searched_to_us),
    }


def shown_state(state: int) -> str:
    """Return the usual name of a state; a newer server may send one that this release has not."""
    try:
        return shown_as(state)[1]
    except ValueError:
        return f"Unknown{state}"


def task_document(task: "Task") -> Document:
    """Return what agents say of a task; a schema is a document itself, or text when it is none."""
    return {
        "name": task.name,
        "version": task.version or None,
        "description": task.description or None,
        "encodings": list(task.encodings),
        "parameter_schema": _schema(task.parameter_schema),
        "result_schema": _schema(task.result_schema),
        "queues": list(task.queues),
        "agents": list(task.agents),
    }


def cache_document(entry: "CacheEntry") -> Document:
    """Return an entry of the cache."""
    return {
        "key": entry.key,
        "run_id": format_id(entry.run_id),
        "run_name": entry.run_name,
        "task_name": entry.task_name,
        "task_key": entry.task_key or None,
        "ended": moment(entry.ended_us),
        "expires": moment(entry.expires_us),
    }


def _schema(text: str) -> Any:
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):  # it is whatever an agent has sent
        return text


def log_documents(page: "ListRunLogsResponse | TailRunLogsResponse") -> Iterator[Document]:
    """Yield the records of a page of a log."""
    logs = page.logs
    rows = zip(
        logs.run_ids, logs.run_names, logs.at_us, logs.levels, logs.loggers, logs.messages, strict=True
    )
    for run_id, run_name, at_us, level, logger, message in rows:
        yield {
            "at": moment(at_us),
            "level": level,
            "logger": logger,
            "run_id": format_id(run_id),
            "run_name": run_name,
            "message": message,
        }


def _reason(value: int) -> str | None:
    return name_in(StateReason, value).lower() if value else None
