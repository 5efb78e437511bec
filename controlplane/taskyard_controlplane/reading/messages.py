"""Rows of the database, completed by the owner's view of open runs, as messages. Pure.

Invariant: the final state comes from the database, an open state from the owner when it knows the run.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, cast

from taskyard_api.v1 import (
    agent_service_pb2,
    cache_service_pb2,
    common_pb2,
    run_service_pb2,
    session_service_pb2,
    template_pb2,
)
from taskyard_contract.ids import ID_BYTES
from taskyard_contract.states import FIRST_FINAL, StateReason
from taskyard_contract.wire_failures import bounded_failure
from taskyard_contract.wire_text import bounded
from taskyard_controlplane.domain.live_state import LiveState
from taskyard_controlplane.reading.history import HistoryEntry
from taskyard_controlplane.storage.interface import EventRow, ListedRun, StoredEntry, StoredLog, StoredRun

_EDGE_BYTES = ID_BYTES + 1  # of an upstream edge as rows have it: the run's id, then what it is to the other

MAX_LISTED_UPSTREAM: Final = 1_000
"""Upstream runs that a page names of each run: one that reduces many has a hundred thousand."""


@lru_cache(maxsize=256)
def template_of(definition: bytes) -> template_pb2.RunTemplate:
    """Parse a template's definition; the result is shared, so do not change it."""
    return template_pb2.RunTemplate.FromString(definition)


def outcome_of(run: StoredRun) -> session_service_pb2.RunOutcome:
    """Return what a run ended with, beyond an ordinary result; empty for all others."""
    return session_service_pb2.RunOutcome.FromString(run.outcome or b"")


def upstream_of(edges: bytes | None, most: int | None = None) -> list[run_service_pb2.Upstream]:
    """Read the packed upstream edges of a record, or the first of them: 16 bytes id and 1 byte kind each."""
    packed = (edges or b"")[: None if most is None else most * _EDGE_BYTES]
    return [
        run_service_pb2.Upstream(
            run_id=packed[start : start + ID_BYTES], kind=cast(Any, packed[start + ID_BYTES])
        )
        for start in range(0, len(packed), _EDGE_BYTES)
    ]


def headers_of(run: StoredRun) -> Mapping[str, str]:
    """Return the headers a run was submitted with."""
    return agent_service_pb2.AttemptExtra.FromString(run.headers or b"").headers


def name_of(run: StoredRun, template: template_pb2.RunTemplate, replaced: str = "") -> str:
    """Return the name a run ended with, else its own, else its task's or flow's with a number."""
    return replaced or run.name or f"{template.name}-{run.ordinal}"


def run_message(
    listed: ListedRun,
    live: LiveState | None = None,
    last_event: EventRow | None = None,
    *,
    include_result: bool = False,
    brief: bool = False,
    full: bool = False,
) -> run_service_pb2.Run:
    """Write a run for a client.

    Args:
        listed: The record.
        live: The owner's view, when the run is open and in memory.
        last_event: The last recorded exception, which explains an open state.
        include_result: Whether to send the value; failures are always sent.
        brief: For a page of many: without the exceptions themselves, only what is said of them, and with the
            first upstream runs only.
        full: With its arguments, its headers, the whole template, and what it said last.
    """
    run, template = listed.run, template_of(listed.definition)
    outcome = outcome_of(run)
    message = run_service_pb2.Run(
        run_id=run.run_id,
        kind=cast(Any, run.kind),
        name=name_of(run, template, outcome.run_name),
        task_name=template.name,
        task_key=template.task_key,
        flow_run_id=listed.flow_run_id or b"",
        caller_run_id=run.caller_id or b"",
        submitted_us=run.submitted_us,
        queue=template.queue,
        tags=template.tags,
        upstream=upstream_of(run.upstream, MAX_LISTED_UPSTREAM if brief else None),
        cache_key=run.cache_key or "",
        priority=template.priority,
        ordinal=run.ordinal,
    )
    if full:
        message.template.CopyFrom(template)
        _write_args(message, run, template.encoding)
        message.headers.update(headers_of(run))
        if live is not None and live.progress:
            message.progress.MergeFromString(live.progress)
    if run.state >= FIRST_FINAL:
        if run.reason != StateReason.CACHED:  # else an agent may have computed its key, and no more
            message.agent_id, message.agent_name = listed.agent_id or "", listed.agent_name or ""
        _write_end(message, run, outcome, template.result_encoding or template.encoding, include_result)
        if brief:
            _without_encoded(message)
    else:
        _write_open_state(message, run, live, last_event)
    return message


def _write_end(
    message: run_service_pb2.Run,
    run: StoredRun,
    outcome: session_service_pb2.RunOutcome,
    encoding: str,
    include_result: bool,
) -> None:
    message.state = cast(Any, run.state)
    message.reason = cast(Any, run.reason)
    message.state_name = outcome.state_name
    message.message = bounded(outcome.message)
    message.attempt = run.attempt
    message.infra_retries = run.infra_retries
    message.started_us = run.started_us or 0
    message.ended_us = run.ended_us or 0
    message.cached_run_id = outcome.cached_run_id
    if outcome.HasField("failure"):
        message.failure.CopyFrom(bounded_failure(outcome.failure))
    if not include_result:
        return
    if outcome.HasField("result"):
        message.result.CopyFrom(outcome.result)
    elif run.result is not None:
        message.result.CopyFrom(common_pb2.Payload(encoding=encoding, data=run.result))


def _write_args(message: run_service_pb2.Run, run: StoredRun, encoding: str) -> None:
    if run.args_blob is not None:
        message.args.ParseFromString(run.args_blob)
    message.args.encoding = message.args.encoding or encoding
    if not message.args.HasField("blob"):
        message.args.data = run.args or b""


def _without_encoded(message: run_service_pb2.Run) -> None:
    """Leave out the exceptions themselves: they are many times as large as what is said of them."""
    failure = message.failure if message.HasField("failure") else None
    while failure is not None:
        failure.ClearField("encoded")
        failure = failure.cause if failure.HasField("cause") else None


def _write_open_state(
    message: run_service_pb2.Run, run: StoredRun, live: LiveState | None, last_event: EventRow | None
) -> None:
    state, attempt, infra_retries = run.state, run.attempt, run.infra_retries
    if last_event is not None:
        message.reason = cast(Any, last_event.reason)
        message.state_name = last_event.state_name or ""
        message.message = bounded(last_event.message or "")
        state, attempt = last_event.state, last_event.attempt
        infra_retries = last_event.infra_retries
        message.due_us = last_event.due_us or 0
    if live is not None:
        if live.state != state:  # the event explains a state the run has left since
            message.ClearField("state_name")
            message.ClearField("message")
            message.ClearField("due_us")
        state, attempt, infra_retries = live.state, live.attempt, live.infra_retries
        message.reason = cast(Any, live.reason)
        message.started_us = live.started_us or 0
        message.agent_name, message.agent_id = live.agent_name, live.agent_id
        if live.waits_for:
            message.message = bounded(live.waits_for)
    message.state = cast(Any, state)
    message.attempt = max(1, attempt)
    message.infra_retries = infra_retries


def entry_message(entry: StoredEntry) -> cache_service_pb2.CacheEntry:
    """Write an entry of the cache, with the run whose result it is."""
    run, template = entry.listed.run, template_of(entry.listed.definition)
    return cache_service_pb2.CacheEntry(
        key=entry.cache_key,
        run_id=run.run_id,
        run_name=name_of(run, template, outcome_of(run).run_name),
        task_name=template.name,
        task_key=template.task_key,
        ended_us=run.ended_us or 0,
        expires_us=entry.expires_us or 0,
    )


def state_entry(entry: HistoryEntry) -> run_service_pb2.RunStateEntry:
    """Write one state of a history."""
    return run_service_pb2.RunStateEntry(
        state=cast(Any, entry.state),
        reason=cast(Any, entry.reason),
        state_name=entry.state_name,
        message=bounded(entry.message),
        at_us=entry.at_us,
        attempt=entry.attempt,
    )


def log_batch(records: Sequence[StoredLog]) -> session_service_pb2.LogBatch:
    """Write log records as columns."""
    return session_service_pb2.LogBatch(
        run_ids=[record.run_id for record in records],
        at_us=[record.at_us for record in records],
        levels=[record.level for record in records],
        loggers=[record.logger for record in records],
        messages=[record.message for record in records],
        run_names=[record.run_name for record in records],
    )
