"""The transition table of flow runs.

A flow's body runs in the process of the session that created it, so no agent ever holds a flow run: the
session proposes, the table decides, and a session that is gone crashes its flow runs.
"""

from typing import Final

from taskyard_contract.states import RunState
from taskyard_controlplane.domain.cells import Cell, Choice, Go, Ignore, Reject, Row, Table
from taskyard_controlplane.domain.effects import Effect
from taskyard_controlplane.domain.events import RunEvent
from taskyard_controlplane.domain.retries import has_retry
from taskyard_controlplane.domain.task_machine import COMPLETED, DUPLICATE, LATE

S = RunState
E = RunEvent

ENDED: Final = Effect.RECORD_END | Effect.RELEASE_DOWNSTREAM | Effect.NOTIFY
FOR_TASKS: Final = Reject("only task runs")
STARTED: Final = Reject("its body has started")

ABANDONED: Final = Go(S.CRASHED, ENDED | Effect.CANCEL_INSIDE)
FAILED: Final = Go(S.FAILED, ENDED)
RETRY: Final = Go(S.AWAITING_RETRY, Effect.RECORD_EVENT | Effect.NEXT_ATTEMPT)
NOT_READY: Final = Go(S.NOT_READY, ENDED)
STOPPED: Final = Go(S.CANCELLED, ENDED | Effect.CANCEL_INSIDE)
REOPEN: Final = Go(S.PENDING, Effect.RECORD_EVENT | Effect.NEXT_ATTEMPT)
STOP_BODY: Final = Go(S.CANCELLING, Effect.RECORD_EVENT | Effect.REQUEST_CANCEL | Effect.CANCEL_INSIDE)

_TASKS_ONLY: Final[Row] = {
    E.UPSTREAM_DONE: FOR_TASKS,
    E.UPSTREAM_FAILED: STARTED,
    E.CACHE_KEY_KNOWN: FOR_TASKS,
    E.CACHE_HIT: FOR_TASKS,
    E.CACHE_LEADS: FOR_TASKS,
    E.DISPATCHED: FOR_TASKS,
    E.ADOPTED: FOR_TASKS,
    E.LOST: FOR_TASKS,
    E.AGENT_LOST: FOR_TASKS,
    E.GIVEN_BACK: FOR_TASKS,
    E.DUE: LATE,
    E.INPUTS_REFUSED: FOR_TASKS,
    E.WITHDRAWN: Ignore("its body runs"),
    E.RESUMED: Reject("the run has not ended"),
}

_BODY_ENDS: Final[Row] = {
    E.SUCCEEDED: COMPLETED,
    E.FAILED: Choice(has_retry, RETRY, FAILED),
    E.FAILED_FOR_GOOD: FAILED,
    E.ENDED_CANCELLED: STOPPED,
    E.INTERRUPTED: ABANDONED,
    E.CANCEL_REQUESTED: STOP_BODY,
    # The session's other runs meet the same event themselves.
    E.SESSION_LOST: Go(S.CRASHED, ENDED),
}


def _final_row(resumed: Cell = REOPEN) -> Row:
    """Only a session that resumes it brings a flow run back; whether it may is asked before."""
    return {**{event: Ignore("the run has ended") for event in RunEvent}, E.RESUMED: resumed}


TABLE: Final[Table] = {
    S.PENDING: {
        **_TASKS_ONLY,
        **_BODY_ENDS,
        E.STARTED: Go(S.RUNNING),
        E.CANCEL_REQUESTED: STOPPED,
        E.UPSTREAM_FAILED: NOT_READY,
    },
    # A control plane that was started again takes a body that has not started for one that runs.
    S.RUNNING: {**_TASKS_ONLY, **_BODY_ENDS, E.STARTED: DUPLICATE, E.UPSTREAM_FAILED: NOT_READY},
    S.AWAITING_RETRY: {
        **_TASKS_ONLY,
        **_BODY_ENDS,
        E.STARTED: Go(S.RUNNING),
        # Its report is repeated when the decision was lost with a stream; the next attempt has not started.
        E.FAILED: DUPLICATE,
        E.CANCEL_REQUESTED: STOPPED,
    },
    S.CANCELLING: {
        **_TASKS_ONLY,
        **dict.fromkeys(_BODY_ENDS, STOPPED),
        E.STARTED: LATE,
        E.CANCEL_REQUESTED: DUPLICATE,
        E.UPSTREAM_FAILED: STOPPED,
    },
    # States only task runs can be in: nothing may happen to a flow run there.
    S.READY: dict.fromkeys(RunEvent, FOR_TASKS),
    S.ASSIGNED: dict.fromkeys(RunEvent, FOR_TASKS),
    S.AWAITING_CACHE: dict.fromkeys(RunEvent, FOR_TASKS),
    S.NOT_READY: _final_row(FOR_TASKS),
    S.COMPLETED: _final_row(),
    S.FAILED: _final_row(),
    S.CANCELLED: _final_row(),
    S.CRASHED: _final_row(),
}
