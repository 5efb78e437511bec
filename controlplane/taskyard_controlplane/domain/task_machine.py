"""The transition table of task runs: the whole law, written out.

Every state names every event. `Ignore` is for what is late or does not concern the state, `Reject` for what
cannot happen unless its sender has a defect. Diagrams and property tests are made from this table.
"""

from typing import Final

from taskyard_contract.states import RunState
from taskyard_controlplane.domain.cells import Cell, Choice, Go, Ignore, Reject, Row, Table
from taskyard_controlplane.domain.effects import Effect
from taskyard_controlplane.domain.events import RunEvent
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.domain.retries import has_infra_retry, has_retry, retries_at_once

S = RunState
E = RunEvent

ENDED: Final = Effect.RECORD_END | Effect.RELEASE_DOWNSTREAM | Effect.NOTIFY | Effect.SETTLE_CACHE

LATE: Final = Ignore("the run has moved on")
DUPLICATE: Final = Ignore("already so")
NOT_HELD: Final = Ignore("no agent holds the run")
NOT_STARTED: Final = Reject("the run has not been assigned")
NOT_QUEUED: Final = Reject("the run is not ready")


def needs_cache_decision(run: Run) -> bool:
    """Whether a cache key is known whose fate has not been decided."""
    return run.cache_key is not None and not run.cache_decided and not run.template.refresh_cache


def refreshes_cache(run: Run) -> bool:
    """Whether the run executes whatever the cache holds, and replaces it."""
    return run.template.refresh_cache


COMPLETED: Final = Go(S.COMPLETED, ENDED)
CANCELLED: Final = Go(S.CANCELLED, ENDED)
CRASHED: Final = Go(S.CRASHED, ENDED)
NOT_READY: Final = Go(S.NOT_READY, ENDED)
FAILED: Final = Go(S.FAILED, ENDED)
RETRY_LATER: Final = Go(S.AWAITING_RETRY, Effect.RECORD_EVENT | Effect.NEXT_ATTEMPT | Effect.SET_RETRY_TIMER)
RETRY_NOW: Final = Go(S.READY, Effect.RECORD_EVENT | Effect.NEXT_ATTEMPT | Effect.ENQUEUE)
RETRY_OR_FAIL: Final = Choice(retries_at_once, RETRY_NOW, Choice(has_retry, RETRY_LATER, FAILED))
RUN_AGAIN: Final = Go(S.READY, Effect.RECORD_EVENT | Effect.INFRA_RETRY | Effect.ENQUEUE)
AGAIN_OR_CRASH: Final = Choice(has_infra_retry, RUN_AGAIN, CRASHED)
DECIDE_CACHE: Final = Go(S.AWAITING_CACHE, Effect.LOOK_UP_CACHE)
QUEUE: Final = Go(S.READY, Effect.ENQUEUE)
QUEUE_OR_DECIDE: Final = Choice(needs_cache_decision, DECIDE_CACHE, QUEUE)
EXECUTE_OR_DECIDE: Final = Choice(refreshes_cache, QUEUE, DECIDE_CACHE)
STOP_PROCESS: Final = Go(S.CANCELLING, Effect.RECORD_EVENT | Effect.SEND_CANCEL)
ASSIGNED: Final = Go(S.ASSIGNED)

_REPORTS: Final = (
    E.SUCCEEDED, E.FAILED, E.FAILED_FOR_GOOD, E.ENDED_CANCELLED, E.INTERRUPTED, E.CACHE_KEY_KNOWN,
)  # fmt: skip


def _final_row() -> Row:
    """A final state is never left, whatever happens."""
    return {event: Ignore("the run has ended") for event in RunEvent}


def _unassigned_row(
    *,
    upstream_done: Cell = LATE,
    upstream_failed: Cell = LATE,
    cache_hit: Cell = LATE,
    cache_leads: Cell = LATE,
    dispatched: Cell = NOT_QUEUED,
    adopted: Cell = ASSIGNED,
    due: Cell = LATE,
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
        E.GIVEN_BACK: NOT_HELD,
        E.DUE: due,
        E.CANCEL_REQUESTED: CANCELLED,
        E.SESSION_LOST: CANCELLED,
        E.WITHDRAWN: CANCELLED,
    }


def _held_row(*, started: Cell, given_back: Cell) -> Row:
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
        E.GIVEN_BACK: given_back,
        E.DUE: LATE,
        E.CANCEL_REQUESTED: STOP_PROCESS,
        # A run that has started may finish: its work is paid for and its effects may be wanted.
        E.SESSION_LOST: Ignore("an agent executes the run"),
        E.WITHDRAWN: Ignore("an agent executes the run"),
    }


TABLE: Final[Table] = {
    S.PENDING: _unassigned_row(
        upstream_done=QUEUE_OR_DECIDE,
        upstream_failed=NOT_READY,
        adopted=Ignore("the run waits for upstream runs"),
    ),
    S.READY: _unassigned_row(dispatched=ASSIGNED),
    S.ASSIGNED: _held_row(started=Go(S.RUNNING), given_back=QUEUE),
    S.RUNNING: _held_row(started=DUPLICATE, given_back=Reject("the run has started")),
    S.AWAITING_RETRY: _unassigned_row(
        due=QUEUE, adopted=Ignore("the attempt the agent holds has failed already")
    ),
    S.AWAITING_CACHE: _unassigned_row(cache_hit=COMPLETED, cache_leads=QUEUE),
    # Whatever the process still managed to report: what was promised to whoever cancelled is CANCELLED.
    S.CANCELLING: {
        **_held_row(started=LATE, given_back=CANCELLED),
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
