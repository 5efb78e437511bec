"""Rebuilds a shard from its database after a restart or a takeover.

Theory of operation. The database knows what was acknowledged: submissions, ends, and whatever was no happy
path (events). It does not know what was derived from that, which is ready, assigned, running or waiting. So
every open run is made as it was submitted, its events are replayed over it, and the last assignment that was
recorded is laid on top if nothing later undid it (`journal.restoring`). What then follows is derived anew:

- Runs that were assigned stay so, held by nobody (`orphans`), for the length of an agent's lease, so that
  agents which survived can restate what they execute. Those that do not are taken as lost.
- Runs executed by sessions may be executing: starts are not recorded. They are RUNNING until their session
  reports, or its lease ends, which begins now.
- Runs that were parked stay so: of them only what they wait for is read.
- Everything else waits again for what it waited for: upstream runs, a retry that is due at a recorded time, a
  cache key, its turn. Nothing starts here; it all goes on with the first commit, like new submissions do.

What can go wrong: an assignment may not have been recorded, because it rides on the commit after it. Then the
run is found ready while an agent executes it. If that agent comes back first, its word is taken (ADOPTED); if
the run was assigned anew before, the earlier execution's report is stale. A run may so execute twice; it
never ends twice. (Runs with cache keys are sent only when their assignment is recorded: of those with one key
no second one may begin.) An agent's word is taken for as long as its lease (`Succession`), and only about
runs that may have been assigned (`_seal`): what a run waits for is over, durably, before anybody is sent it.
The order of the steps matters: inputs that are known are in `recent` before runs are connected, and every run
is in the book before the first one is connected, or upstream runs would be looked up that are there.
"""

from collections.abc import Container, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Final, NamedTuple

from taskyard_contract.clock import Clock
from taskyard_contract.states import FIRST_FINAL, RunState, StateReason
from taskyard_controlplane.domain.admission import waits_of
from taskyard_controlplane.domain.edges import IF_SUBMITTED, awaited, split_edges
from taskyard_controlplane.domain.effects import Effect
from taskyard_controlplane.domain.events import RunEvent
from taskyard_controlplane.domain.machine import restore
from taskyard_controlplane.domain.model import HELD, SESSION, AgentIdentity, Run
from taskyard_controlplane.owner.journal.restoring import read_dispatches
from taskyard_controlplane.owner.journal.seen_digests import SeenDigests
from taskyard_controlplane.owner.journal.templates import Beside
from taskyard_controlplane.owner.queueing.parking import WAITING_LANE
from taskyard_controlplane.owner.shard.shard import Shard
from taskyard_controlplane.storage.interface import (
    EventRow,
    LogMarkRow,
    LogPosition,
    Ownership,
    RunHead,
    Store,
)

PENDING: Final = int(RunState.PENDING)
BEFORE_QUEUE: Final = (PENDING, int(RunState.READY))
"""Where runs come to the gates again. Others are with an agent, or wait for a time that is known."""
LOG_MARK_US: Final = 7 * 24 * 3600 * 1_000_000
"""For how long it is known what a session logged: one that comes back later repeats nothing any more."""

_LOOK_UP_CACHE: Final = int(Effect.LOOK_UP_CACHE)
PAGE_PARKED: Final = 20_000
"""Read at a time of runs that wait for others in the backlog: a row is some sixty bytes."""
PAGE_RUNS: Final = 5_000
"""Read at a time, without what is large of them: a few megabytes, and a fraction of a second."""


NO_AGENT: Final = AgentIdentity("")


class Found(NamedTuple):
    """What the database holds, but for the open runs themselves."""

    ownership: Ownership
    seen: SeenDigests
    backlog: list[tuple[str, int, int]]
    assigned: dict[int, tuple[int, AgentIdentity]]
    log_marks: list[LogMarkRow]
    logs: LogPosition
    runs: Iterator[RunHead]
    """Reads them in pages; to be used where the store may be."""


class Page(NamedTuple):
    """Some open runs, and what happened to them, by seq."""

    found: Beside
    events: dict[int, list[EventRow]]


def read_store(store: Store, now_us: int) -> Found:
    """Become the owner and read what recovery has to know first. Blocks.

    Raises:
        DatabaseInUse: Another process owns the database.
        TaskyardError: The database cannot be used.
    """
    ownership = store.open()
    dispatches = store.dispatches()
    assigned = read_dispatches(dispatches, store.agent_numbers({row.agent_id for row in dispatches}))
    runs = store.open_runs(ownership.low_seq)
    seen = SeenDigests()
    for digest in store.template_digests():
        seen.add(digest)
    backlog, log_marks = store.backlog_counts(), store.log_marks()
    logs = store.logs.open(ownership.generation, now_us)
    # A run may have logged that was never recorded itself: what it logged is nobody else's.
    ownership = ownership._replace(next_seq=max(ownership.next_seq, logs.last_seq + 1))
    return Found(ownership, seen, backlog, assigned, log_marks, logs, runs)


def _read_page(shard: Shard, store: Store, runs: Iterator[RunHead]) -> Page:
    found = shard.templates.beside(list(islice(runs, PAGE_RUNS)))
    events: dict[int, list[EventRow]] = {}
    if heads := found.rows:
        for event in store.open_events(heads[0].seq, heads[-1].seq):
            events.setdefault(event.run_seq, []).append(event)
    return Page(found, events)


async def rebuild(shard: Shard, store: Store, found: Found, agent_lease: float, clock: Clock) -> None:
    """Fill a shard that has just been made with what the database has.

    Runs come in pages, and of each only the record stays: so this needs no more memory than the shard will.

    Raises:
        TaskyardError: The database cannot be used.
    """
    run = shard.committer.run
    shard.templates.start(found.seen, found.ownership.next_template_id)
    shard.backlog.recover(found.backlog, found.ownership.low_seq)
    shard.roster.log_marks.load((mark.session_id, mark.number) for mark in found.log_marks)
    for session_id, number in found.logs.marks.items():
        shard.roster.log_marks.note(session_id, number)
    forgotten_us = clock.now_us() - LOG_MARK_US
    if found.log_marks and found.log_marks[-1].at_us <= forgotten_us:
        shard.journal.forget_log_marks(forgotten_us)
    while (page := await run(lambda: _read_page(shard, store, found.runs))).found.rows:
        for head in (heads := shard.templates.take(page.found)):
            _restored(shard, head, page.events.get(head.seq, []), found.assigned, clock)
        del heads  # from here on the runs hold their templates
    await _park(shard, store)
    runs = [each for each in shard.book.runs.values() if each.template.executor != SESSION]
    missing, never = _missing_upstream(shard, runs), set[bytes]()
    while upstream_ids := list(islice(missing, PAGE_RUNS)):
        never.update(upstream_ids)
        for end in await run(lambda ids=upstream_ids: store.ends_by_id(ids)):  # type: ignore[misc]
            never.discard(end.run_id)
            if end.state >= FIRST_FINAL:
                shard.book.recent[end.run_id] = end[1:]
    for each in list(shard.book.runs.values()):
        if each.template.refusal is not None:
            shard.settling.end_refused(each)
    for each in runs:
        _wait_again(shard, each, never)
    shard.journal.touch()
    shard.succession.take_over()
    held = [each for each in runs if each.state in HELD]
    shard.timers.after(agent_lease, lambda: _not_restated(shard, held), name="restating after a restart")


async def _park(shard: Shard, store: Store) -> None:
    """Find again what parked runs wait for; those that need not wait any more are due."""
    run = shard.committer.run
    after = -1
    while page := await run(partial(store.parked_page, WAITING_LANE, after, PAGE_PARKED)):
        fetched = await shard.templates.fetched((), {row[1] for row in page})
        shard.parking.restore(page, fetched.templates)
        after = page[-1][0]
    unknown = iter([each for each in shard.upstream.parked.awaited if each not in shard.book.runs])
    while upstream_ids := list(islice(unknown, PAGE_RUNS)):
        states = await run(partial(store.states_by_id, upstream_ids))
        for each in upstream_ids:
            state = states.get(each, 0)
            if not 0 < state < FIRST_FINAL:
                shard.upstream.parked.ended(each, state)


def _missing_upstream(shard: Shard, runs: list[Run]) -> Iterator[bytes]:
    """Iterate over the upstream runs that are not open, each once."""
    seen, known = set[bytes](), shard.book.runs
    for run in runs:
        if run.upstream is None:
            continue
        for upstream_id, _ in awaited(split_edges(run.upstream)):
            if upstream_id not in known and upstream_id not in seen:
                seen.add(upstream_id)
                yield upstream_id


def _restored(
    shard: Shard,
    row: RunHead,
    events: list[EventRow],
    assigned: dict[int, tuple[int, AgentIdentity]],
    clock: Clock,
) -> None:
    epoch, agent = assigned.get(row.seq, (0, NO_AGENT))
    run, due_us = shard.stored.restore(row, events, epoch)
    if run.template.executor == SESSION:
        if run.state in (RunState.PENDING, RunState.AWAITING_RETRY):
            # Starts are not recorded, so the body may be running.
            restore(run, RunState.RUNNING)
            run.started_us = run.submitted_us
    elif run.state in HELD:
        if run.epoch == epoch:
            run.last_agent = agent
            shard.book.orphans.setdefault(agent.agent_id, []).append(run)
        shard.cache.leads(run)
    elif due_us is not None:
        run.cache_decided = run.cache_key is not None
        shard.cache.leads(run)
        if due_us > clock.now_us():
            _seal(shard, run)
        shard.settling.wake_later(run, (due_us - clock.now_us()) / 1_000_000)


def _wait_again(shard: Shard, run: Run, never: Container[bytes]) -> None:
    """Make a run wait for what it waited for; everything starts with the first commit.

    `never` has the upstream runs that there are not.
    """
    # Nothing but a run's own history says that its upstream runs let it go on.
    upstream = run.state == PENDING
    if run.upstream is not None and not upstream:
        shard.upstream.redeliver(run)
    if run.state in BEFORE_QUEUE:
        edges = split_edges(run.upstream or b"") if upstream else []
        known = [edge for edge in awaited(edges) if edge[1] != IF_SUBMITTED or edge[0] not in never]
        if all(upstream_id in shard.book.recent for upstream_id, _ in known):
            edges = known  # nothing else keeps it: those that may never be submitted were not
        else:
            _seal(shard, run)
        effects = shard.admission.enter(run, waits_of(run, upstream=upstream), edges)
        if not effects & _LOOK_UP_CACHE:
            shard.journal.resumed(run)


def _seal(shard: Shard, run: Run) -> None:
    """Note that no earlier owner can have assigned a run, but for attempts that have been decided."""
    run.epoch = shard.succession.first_epoch


def _not_restated(shard: Shard, held: Iterable[Run]) -> None:
    """Give up on agents that did not come back with what they held."""
    shard.succession.settle()
    for run in held:
        if run.agent is None and run.state in HELD and run.epoch < shard.succession.first_epoch:
            shard.settling.apply(
                run,
                RunEvent.AGENT_LOST,
                reason=StateReason.AGENT_LOST,
                message="the agent that held the run did not come back after a restart",
            )
    shard.book.orphans.clear()
