"""Rebuilds a shard from its database after a restart or a takeover.

What was acknowledged is there; what was derived (ready, assigned, waiting) is derived again. Runs that were
assigned stay assigned for the length of an agent's lease, so that agents which survived can restate them.
"""

from typing import Final, NamedTuple

from taskyard_contract.states import FIRST_FINAL, RunKind, RunState, StateReason
from taskyard_controlplane.domain.admission import waits_of
from taskyard_controlplane.domain.effects import Effect
from taskyard_controlplane.domain.events import RunEvent
from taskyard_controlplane.domain.machine import restore
from taskyard_controlplane.domain.model import SESSION, Run
from taskyard_controlplane.owner.journal.restoring import (
    read_dispatches,
    replay_dispatch,
    replay_events,
    restore_run,
)
from taskyard_controlplane.owner.rules.settling import HELD
from taskyard_controlplane.owner.rules.upstream import split_edges
from taskyard_controlplane.owner.shard.shard import Shard
from taskyard_controlplane.storage.interface import (
    EventRow,
    Ownership,
    Store,
    StoredRun,
    TemplateRow,
)

BEFORE_QUEUE: Final = (RunState.PENDING, RunState.READY)
"""Where runs come to the gates again. Others are with an agent, or wait for a time that is known."""


class Found(NamedTuple):
    """What the database holds of open runs."""

    ownership: Ownership
    templates: list[TemplateRow]
    backlog: list[tuple[str, int, int]]
    rows: list[StoredRun]
    events: dict[int, list[EventRow]]
    assigned: dict[int, tuple[int, str]]
    ended_upstream: list[StoredRun]


def read_store(store: Store) -> Found:
    """Become the owner and read everything recovery needs. Blocks."""
    ownership = store.open()
    rows = list(store.open_runs(ownership.low_seq))
    events: dict[int, list[EventRow]] = {}
    for event in store.events_of([row.seq for row in rows]):
        events.setdefault(event.run_seq, []).append(event)
    assigned = read_dispatches(store.dispatches())
    wanted = {upstream_id for row in rows if row.upstream for upstream_id, _ in split_edges(row.upstream)}
    ended = [row for row in store.runs_by_id(sorted(wanted)) if row.state >= FIRST_FINAL]
    return Found(ownership, store.templates(), store.backlog_counts(), rows, events, assigned, ended)


async def recover(shard: Shard, agent_lease: float) -> None:
    """Become the owner of a shard and rebuild it.

    Raises:
        DatabaseInUse: Another process owns the database.
        TaskyardError: The database cannot be used.
    """
    found = await shard.committer.run(lambda: read_store(shard.store))
    ownership = found.ownership
    shard.templates.load(found.templates, ownership.next_template_id)
    shard.begin(ownership.generation, ownership.next_seq, ownership.next_dispatch)
    shard.backlog.recover(found.backlog, ownership.low_seq)
    for row in found.rows:
        flow = shard.flows_by_seq.get(row.flow_seq) if row.flow_seq is not None else None
        run = restore_run(row, shard.templates, flow)
        due_us = replay_events(run, found.events.get(row.seq, []))
        epoch, agent_id = found.assigned.get(row.seq, (0, ""))
        replay_dispatch(run, epoch)
        if run.state in HELD and run.epoch == epoch:
            shard.orphans.setdefault(agent_id, []).append(run)
        shard.runs[run.run_id] = run
        run.session = shard.stored.session_of(row)
        _resume(shard, run, due_us)
    for row in found.ended_upstream:
        shard.recent[row.run_id] = (row.state, row.result, row.outcome)
    _connect(shard, [shard.runs[row.run_id] for row in found.rows])
    shard.committer.touch()
    shard.timers.after(
        agent_lease, lambda: _not_restated(shard, ownership.generation), name="restating after a restart"
    )


def _resume(shard: Shard, run: Run, due_us: int | None) -> None:
    if run.template.kind == RunKind.FLOW:
        shard.flows_by_seq[run.seq] = run
    if run.template.executor == SESSION:
        if run.session is not None:
            run.session.executing[run.run_id] = run
        if run.state in (RunState.PENDING, RunState.AWAITING_RETRY):
            # Starts are not recorded, so the body may be running.
            restore(run, RunState.RUNNING)
            run.started_us = run.submitted_us
    elif due_us is not None:
        run.cache_decided = run.cache_key is not None
        shard.cache.leads(run)
        shard.settling.wake_later(run, (due_us - shard.clock.now_us()) / 1_000_000)
    elif run.state in HELD and run.cache_key is not None:
        shard.cache.leads(run)


def _connect(shard: Shard, runs: list[Run]) -> None:
    """Make runs wait again for what they waited for; everything starts with the first commit."""
    commit = shard.committer.open
    for run in runs:
        if run.template.executor == SESSION:
            continue
        # Nothing but a run's own history says that its upstream runs let it go on.
        upstream = run.state == RunState.PENDING
        if run.upstream is not None and not upstream:
            shard.upstream.redeliver(run)
        if run.state in BEFORE_QUEUE:
            edges = split_edges(run.upstream or b"") if upstream else []
            effects = shard.admission.enter(run, waits_of(run, upstream=upstream), edges)
            if not effects & Effect.LOOK_UP_CACHE:
                commit.submitted.append(run)


def _not_restated(shard: Shard, generation: int) -> None:
    """Give up on agents that did not come back with what they held."""
    for run in list(shard.runs.values()):
        if run.agent is None and run.state in HELD and run.epoch >> 32 < generation:
            shard.settling.apply(
                run,
                RunEvent.LOST,
                reason=StateReason.AGENT_LOST,
                message="the agent that held the run did not come back after a restart",
            )
    shard.orphans.clear()
