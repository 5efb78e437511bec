"""Rebuilds a shard from its database after a restart or a takeover.

Theory of operation. The database knows what was acknowledged: submissions, ends, and whatever was no happy
path (events). It does not know what was derived from that, which is ready, assigned, running or waiting. So
every open run is made as it was submitted, its events are replayed over it, and the last assignment that was
recorded is laid on top if nothing later undid it (`journal.restoring`). What then follows is derived anew:

- Runs that were assigned stay so, held by nobody (`orphans`), for the length of an agent's lease, so that
  agents which survived can restate what they execute. Those that do not are taken as lost.
- Runs executed by sessions may be executing: starts are not recorded. They are RUNNING until their session
  reports, or its lease ends, which begins now.
- Everything else waits again for what it waited for: upstream runs, a retry that is due at a recorded time, a
  cache key, its turn. Nothing starts here; it all goes on with the first commit, like new submissions do.

What can go wrong: an assignment may not have been recorded, because it rides on the commit after it. Then the
run is found ready while an agent executes it. If that agent comes back first, its word is taken (ADOPTED); if
the run was assigned anew before, the earlier execution's report is stale. A run may so execute twice; it
never ends twice. The order of the steps matters: inputs that are known are in `recent` before runs are
connected, and every run is in the book before the first one is connected, or upstream runs would be looked up
that are there.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from taskyard_contract.clock import Clock
from taskyard_contract.states import FIRST_FINAL, RunState, StateReason
from taskyard_controlplane.domain.admission import waits_of
from taskyard_controlplane.domain.effects import Effect
from taskyard_controlplane.domain.events import RunEvent
from taskyard_controlplane.domain.machine import restore
from taskyard_controlplane.domain.model import SESSION, Run
from taskyard_controlplane.owner.journal.restoring import read_dispatches
from taskyard_controlplane.owner.rules.settling import HELD
from taskyard_controlplane.owner.rules.upstream import split_edges
from taskyard_controlplane.owner.shard.shard import Shard
from taskyard_controlplane.storage.interface import (
    EventRow,
    Ownership,
    RunHead,
    Store,
    TemplateRow,
)

BEFORE_QUEUE: Final = (RunState.PENDING, RunState.READY)
"""Where runs come to the gates again. Others are with an agent, or wait for a time that is known."""


class Found(NamedTuple):
    """What the database holds of open runs."""

    ownership: Ownership
    templates: list[TemplateRow]
    backlog: list[tuple[str, int, int]]
    rows: list[RunHead]
    events: dict[int, list[EventRow]]
    assigned: dict[int, tuple[int, str]]
    ended_upstream: list[RunHead]


def read_store(store: Store) -> Found:
    """Become the owner and read everything recovery needs. Blocks.

    Raises:
        DatabaseInUse: Another process owns the database.
        TaskyardError: The database cannot be used.
    """
    ownership = store.open()
    rows = list(store.open_runs(ownership.low_seq))
    events: dict[int, list[EventRow]] = {}
    for event in store.events_of([row.seq for row in rows]):
        events.setdefault(event.run_seq, []).append(event)
    assigned = read_dispatches(store.dispatches())
    wanted = {upstream_id for row in rows if row.upstream for upstream_id, _ in split_edges(row.upstream)}
    ended = [row for row in store.heads_by_id(sorted(wanted)) if row.state >= FIRST_FINAL]
    return Found(ownership, store.templates(), store.backlog_counts(), rows, events, assigned, ended)


def rebuild(shard: Shard, found: Found, agent_lease: float, clock: Clock) -> None:
    """Fill a shard that has just been made with what was found."""
    shard.templates.load(found.templates, found.ownership.next_template_id)
    shard.backlog.recover(found.backlog, found.ownership.low_seq)
    runs = [_restored(shard, row, found, clock) for row in found.rows]
    for row in found.ended_upstream:
        shard.book.recent[row.run_id] = (row.state, row.result, row.outcome)
    for run in runs:
        if run.template.executor != SESSION:
            _wait_again(shard, run)
    shard.journal.touch()
    held = [run for run in runs if run.template.executor != SESSION and run.state in HELD]
    shard.timers.after(agent_lease, lambda: _not_restated(shard, held), name="restating after a restart")


def _restored(shard: Shard, row: RunHead, found: Found, clock: Clock) -> Run:
    epoch, agent_id = found.assigned.get(row.seq, (0, ""))
    run, due_us = shard.stored.restore(row, found.events.get(row.seq, []), epoch)
    if run.template.executor == SESSION:
        if run.state in (RunState.PENDING, RunState.AWAITING_RETRY):
            # Starts are not recorded, so the body may be running.
            restore(run, RunState.RUNNING)
            run.started_us = run.submitted_us
    elif run.state in HELD:
        if run.epoch == epoch:
            shard.book.orphans.setdefault(agent_id, []).append(run)
        shard.cache.leads(run)
    elif due_us is not None:
        run.cache_decided = run.cache_key is not None
        shard.cache.leads(run)
        shard.settling.wake_later(run, (due_us - clock.now_us()) / 1_000_000)
    return run


def _wait_again(shard: Shard, run: Run) -> None:
    """Make a run wait for what it waited for; everything starts with the first commit."""
    # Nothing but a run's own history says that its upstream runs let it go on.
    upstream = run.state == RunState.PENDING
    if run.upstream is not None and not upstream:
        shard.upstream.redeliver(run)
    if run.state in BEFORE_QUEUE:
        edges = split_edges(run.upstream or b"") if upstream else []
        effects = shard.admission.enter(run, waits_of(run, upstream=upstream), edges)
        if not effects & Effect.LOOK_UP_CACHE:
            shard.journal.resumed(run)


def _not_restated(shard: Shard, held: Iterable[Run]) -> None:
    """Give up on agents that did not come back with what they held."""
    for run in held:
        if run.agent is None and run.state in HELD and run.epoch >> 32 < shard.generation:
            shard.settling.apply(
                run,
                RunEvent.LOST,
                reason=StateReason.AGENT_LOST,
                message="the agent that held the run did not come back after a restart",
            )
    shard.book.orphans.clear()
