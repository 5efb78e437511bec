"""The transition table of task runs: the whole law, written out.

Theory of operation. There is one machine per run, and its events come from four sides that know nothing of
each other: the session (cancel, withdraw, its own end), the agent that holds the run (everything reported),
the owner's own bookkeeping (upstream, cache, timers, leases) and people. No side waits for another, so any
event can meet any state. That is why every state names every event: `Ignore` is for what is late or does not
concern the state, `Reject` for what cannot happen unless its sender has a defect. What is in neither is a
`Go`, which says the next state and, as `Effect`s, what the owner has to write and do about it.

A life has three stretches. Before an agent holds the run (`_unassigned_row`) it stands before the gates of
`admission` or in a queue, nobody may report about it, and ending it is immediate. While an agent holds it
(`_held_row`) only that agent's reports count, and ending it takes the agent's word: CANCELLING. Final states
absorb everything. The way back from the second stretch to the first is always an `entrance`: retries, lost
and given back runs pass the same gates as new ones.

What couples the machines, and is not seen here:
- The end of a run is an event for others: RELEASE_DOWNSTREAM becomes UPSTREAM_DONE or UPSTREAM_FAILED of the
  runs that wait for it, SETTLE_CACHE becomes CACHE_HIT or CACHE_LEADS of the runs with its key. The end of a
  flow run cancels what is inside it. Always after the commit, so nobody acts on an end that could be undone.
- Which attempt speaks is not in the table: a report is compared with the run's epoch first
  (`machine.accepts_epoch`), and only what passes becomes an event. So a state needs no memory of who held it.
- ADOPTED is the one event that contradicts what the owner believed: after a restart an agent may hold a run
  that the database shows as queued. The agent is right, except where the run must not execute yet, or where
  the attempt that it holds has been decided: what agents say of decided attempts never becomes an event.

What the diagram cannot show: events that change nothing, the order in which guards are asked (the first that
holds wins), the counters that bound the loops (`attempt` for failures of user code, `infra_retries` for what
was lost while it executed, `strikes` for what was lost before it is known to have), and that a run which is
never assigned waits for ever: no state here has a time limit.
"""

from typing import Final

from taskyard_contract.states import RunState
from taskyard_controlplane.domain.admission import Wait, entrance, waiting
from taskyard_controlplane.domain.cells import Cell, Choice, Go, Ignore, Reject, Row, Table
from taskyard_controlplane.domain.effects import Effect
from taskyard_controlplane.domain.events import RunEvent
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.domain.retries import has_infra_retry, has_retry, is_innocent

S = RunState
E = RunEvent

ENDED: Final = Effect.RECORD_END | Effect.RELEASE_DOWNSTREAM | Effect.NOTIFY | Effect.SETTLE_CACHE

LATE: Final = Ignore("the run has moved on")
DUPLICATE: Final = Ignore("already so")
NOT_HELD: Final = Ignore("no agent holds the run")
NOT_STARTED: Final = Reject("the run has not been assigned")
FOR_FLOWS: Final = Reject("only flow runs")
NOT_QUEUED: Final = Reject("the run is not ready")


def refreshes_cache(run: Run) -> bool:
    """Whether the run executes whatever the cache holds, and replaces it."""
    return run.template.refresh_cache


COMPLETED: Final = Go(S.COMPLETED, ENDED)
CANCELLED: Final = Go(S.CANCELLED, ENDED)
CRASHED: Final = Go(S.CRASHED, ENDED)
NOT_READY: Final = Go(S.NOT_READY, ENDED)
FAILED: Final = Go(S.FAILED, ENDED)
RETRY: Final = entrance(Wait.START_TIME, Effect.RECORD_EVENT | Effect.NEXT_ATTEMPT)
RETRY_OR_FAIL: Final = Choice(has_retry, RETRY, FAILED)
RUN_AGAIN: Final = entrance(effects=Effect.RECORD_EVENT | Effect.INFRA_RETRY)
AGAIN_OR_CRASH: Final = Choice(has_infra_retry, RUN_AGAIN, CRASHED)
AGAIN_FOR_FREE: Final = Choice(
    is_innocent, entrance(effects=Effect.RECORD_EVENT | Effect.STRIKE), AGAIN_OR_CRASH
)
QUEUE: Final = entrance()
QUEUE_OR_DECIDE: Final = entrance(Wait.CACHE)
# The key is not in the record yet when its worker proposes it, so the gate itself cannot be asked.
EXECUTE_OR_DECIDE: Final = Choice(refreshes_cache, QUEUE, waiting(Wait.CACHE))
STOP_PROCESS: Final = Go(S.CANCELLING, Effect.RECORD_EVENT | Effect.SEND_CANCEL)
ASSIGNED: Final = Go(S.ASSIGNED)

_REPORTS: Final = (
    E.SUCCEEDED, E.FAILED, E.FAILED_FOR_GOOD, E.ENDED_CANCELLED, E.INTERRUPTED, E.CACHE_KEY_KNOWN,
)  # fmt: skip


def _final_row() -> Row:
    """A final state is never left, whatever happens."""
    return {**{event: Ignore("the run has ended") for event in RunEvent}, E.RESUMED: FOR_FLOWS}


def _unassigned_row(
    *,
    upstream_done: Cell = LATE,
    upstream_failed: Cell = LATE,
    cache_hit: Cell = LATE,
    cache_leads: Cell = LATE,
    dispatched: Cell = NOT_QUEUED,
    adopted: Cell = ASSIGNED,
    due: Cell = LATE,
    inputs_refused: Cell = LATE,
) -> Row:
    """A state in which no agent holds the run: reports have no standing, ending it is immediate."""
    return {
        E.UPSTREAM_DONE: upstream_done,
        E.UPSTREAM_FAILED: upstream_failed,
        E.CACHE_HIT: cache_hit,
        E.CACHE_LEADS: cache_leads,
        E.DISPATCHED: dispatched,
        E.ADOPTED: adopted,
        E.STARTED: NOT_HELD,
        **dict.fromkeys(_REPORTS, NOT_STARTED),
        E.LOST: NOT_HELD,
        E.AGENT_LOST: NOT_HELD,
        E.GIVEN_BACK: NOT_HELD,
        E.DUE: due,
        E.INPUTS_REFUSED: inputs_refused,
        E.CANCEL_REQUESTED: CANCELLED,
        E.SESSION_LOST: CANCELLED,
        E.WITHDRAWN: CANCELLED,
        E.RESUMED: FOR_FLOWS,
    }


def _held_row(*, started: Cell, given_back: Cell, agent_lost: Cell) -> Row:
    """A state in which an agent holds the run."""
    return {
        E.UPSTREAM_DONE: LATE,
        E.UPSTREAM_FAILED: LATE,
        E.CACHE_KEY_KNOWN: EXECUTE_OR_DECIDE,
        E.CACHE_HIT: LATE,
        E.CACHE_LEADS: LATE,
        E.DISPATCHED: Reject("an agent holds the run"),
        E.ADOPTED: DUPLICATE,
        E.STARTED: started,
        E.SUCCEEDED: COMPLETED,
        E.FAILED: RETRY_OR_FAIL,
        E.FAILED_FOR_GOOD: FAILED,
        E.ENDED_CANCELLED: CANCELLED,
        E.INTERRUPTED: CRASHED,
        E.LOST: AGAIN_OR_CRASH,
        E.AGENT_LOST: agent_lost,
        E.GIVEN_BACK: given_back,
        E.DUE: LATE,
        E.INPUTS_REFUSED: LATE,
        E.CANCEL_REQUESTED: STOP_PROCESS,
        # A run that has started may finish: its work is paid for and its effects may be wanted.
        E.SESSION_LOST: Ignore("an agent executes the run"),
        E.WITHDRAWN: Ignore("an agent executes the run"),
        E.RESUMED: FOR_FLOWS,
    }


TABLE: Final[Table] = {
    S.PENDING: _unassigned_row(
        upstream_done=QUEUE_OR_DECIDE,
        upstream_failed=NOT_READY,
        inputs_refused=FAILED,
        adopted=Ignore("the run waits for upstream runs"),
    ),
    S.READY: _unassigned_row(dispatched=ASSIGNED),
    S.ASSIGNED: _held_row(started=Go(S.RUNNING), given_back=QUEUE, agent_lost=AGAIN_FOR_FREE),
    S.RUNNING: _held_row(
        started=DUPLICATE, given_back=Reject("the run has started"), agent_lost=AGAIN_OR_CRASH
    ),
    S.AWAITING_RETRY: _unassigned_row(
        due=QUEUE, adopted=Ignore("the attempt the agent holds has failed already")
    ),
    S.AWAITING_CACHE: _unassigned_row(cache_hit=COMPLETED, cache_leads=QUEUE),
    # Whatever the process still managed to report: what was promised to whoever cancelled is CANCELLED.
    S.CANCELLING: {
        **_held_row(started=LATE, given_back=CANCELLED, agent_lost=CANCELLED),
        **dict.fromkeys(_REPORTS, CANCELLED),
        E.LOST: CANCELLED,
        E.CANCEL_REQUESTED: DUPLICATE,
        E.SESSION_LOST: DUPLICATE,
        E.WITHDRAWN: DUPLICATE,
    },
    S.COMPLETED: _final_row(),
    S.FAILED: _final_row(),
    S.CANCELLED: _final_row(),
    S.CRASHED: _final_row(),
    S.NOT_READY: _final_row(),
}
