"""Rows -> records: what a run was, as far as the database knows."""

from collections.abc import Iterable, Mapping
from typing import Final

from taskyard_contract.states import FIRST_FINAL, RunState, StateReason
from taskyard_controlplane.domain.admission import Wait, waits_of_template
from taskyard_controlplane.domain.edges import awaits
from taskyard_controlplane.domain.machine import admit, restore
from taskyard_controlplane.domain.model import AGENT, AgentIdentity, Run
from taskyard_controlplane.owner.journal.templates import Templates
from taskyard_controlplane.storage.interface import DispatchRow, EventRow, RunHead

_UPSTREAM: Final = int(Wait.UPSTREAM)


def read_dispatches(
    rows: Iterable[DispatchRow], numbers: Mapping[str, int]
) -> dict[int, tuple[int, AgentIdentity]]:
    """Return the last recorded epoch of each run, and the agent it went to, by seq; `numbers` says under
    which number the agents are recorded, by their ids.
    """
    assigned: dict[int, tuple[int, AgentIdentity]] = {}
    for row in rows:
        agent = AgentIdentity(row.agent_id, numbers.get(row.agent_id))
        values = memoryview(row.entries).cast("Q")
        for index in range(0, len(values), 2):
            seq, epoch = values[index], values[index + 1]
            if seq not in assigned or epoch > assigned[seq][0]:
                assigned[seq] = epoch, agent
    return assigned


def restore_run(row: RunHead, templates: Templates, flow: Run | None, epoch: int = 0) -> Run:
    """Make the record of a run as it was submitted; `epoch` is what it began with."""
    run = Run(
        row.seq, row.run_id, templates.by_id(row.template_id), RunState.READY, flow, None,
        None, row.ordinal, row.submitted_us, max(epoch, row.epoch),
    )  # fmt: skip
    run.args = row.args
    if isinstance(row.args, int):
        run.absent_bytes = row.args
    run.owned = bool(row.session_id)
    run.name, run.caller_id, run.args_blob = row.name, row.caller_id, row.args_blob
    run.cache_key, run.upstream, run.headers = row.cache_key, row.upstream, row.headers
    # Its key is asked for when somebody lets it go on: many are only read to be ended.
    admit(run, waits_of_template(run.template) | (_UPSTREAM if row.upstream and awaits(row.upstream) else 0))
    return run


def replay_events(run: Run, events: list[EventRow]) -> int | None:
    """Fold a run's history into its record.

    Returns:
        When its retry is due, in microseconds since the epoch, if it waits for one.
    """
    if not events:
        return None
    due_us = None
    for event in events:
        if event.state == RunState.RUNNING:
            continue  # the start of an attempt that ended with the next event
        restore(run, event.state)
        run.reason, run.message = event.reason, event.message or ""
        if event.reason == StateReason.AGENT_LOST and event.infra_retries == run.infra_retries:
            run.strikes += 1
        run.attempt, run.infra_retries = event.attempt, event.infra_retries
        run.epoch = max(run.epoch, event.epoch)
        due_us = event.due_us
    return due_us if run.state == RunState.AWAITING_RETRY else None


def replay_dispatch(run: Run, epoch: int) -> None:
    """Take a recorded assignment into account: it counts when nothing that happened later undid it."""
    if epoch <= run.epoch or run.state >= FIRST_FINAL or run.template.executor != AGENT:
        return
    run.epoch = epoch
    if run.state != RunState.CANCELLING:
        restore(run, RunState.ASSIGNED)
        # Its key was decided before it was assigned, or would have been asked for by its worker.
        run.cache_decided = run.cache_key is not None
