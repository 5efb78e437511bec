"""The state history of a run is complete although only exceptions are recorded."""

from typing import Any

from taskyard_contract.states import RunKind, RunState, StateReason
from taskyard_controlplane.domain.live_state import LiveState
from taskyard_controlplane.reading.history import HistoryEntry, history_of
from taskyard_controlplane.storage.interface import EventRow, StoredRun

S = RunState
R = StateReason


def stored(state: int, reason: int = 0, **changes: Any) -> StoredRun:
    run = StoredRun(
        seq=1, run_id=bytes(16), kind=RunKind.TASK, state=state, reason=reason, flow_seq=None, caller_id=None,
        session_id=None, template_id=1, ordinal=0, name=None, args=None, args_blob=None, cache_key=None,
        upstream=None, submitted_us=100, headers=None, attempt=1, infra_retries=0, epoch=0, started_us=None,
        ended_us=None, result=None, outcome=None,
    )  # fmt: skip
    return run._replace(**changes)


def event(
    at_us: int, state: int, attempt: int, reason: int = 0, infra: int = 0, message: str = ""
) -> EventRow:
    return EventRow(1, at_us, state, reason, attempt, infra, 0, None, None, message)


def states(entries: list[HistoryEntry]) -> list[tuple[int, int, int]]:
    return [(entry.state, entry.at_us, entry.attempt) for entry in entries]


def test_a_completed_run_was_pending_and_running() -> None:
    run = stored(S.COMPLETED, started_us=150, ended_us=200)
    assert states(history_of(run, [])) == [(S.PENDING, 100, 1), (S.RUNNING, 150, 1), (S.COMPLETED, 200, 1)]


def test_a_cached_run_never_ran() -> None:
    run = stored(S.COMPLETED, R.CACHED, ended_us=200)
    assert states(history_of(run, [])) == [(S.PENDING, 100, 1), (S.COMPLETED, 200, 1)]


def test_every_failed_attempt_ran() -> None:
    run = stored(S.FAILED, attempt=3, started_us=400, ended_us=500)
    events = [
        event(150, S.RUNNING, 1),
        event(200, S.AWAITING_RETRY, 2),
        event(250, S.RUNNING, 2),
        event(300, S.READY, 3),
    ]
    assert states(history_of(run, events)) == [
        (S.PENDING, 100, 1),
        (S.RUNNING, 150, 1),
        (S.AWAITING_RETRY, 200, 2),
        (S.RUNNING, 250, 2),
        (S.READY, 300, 3),
        (S.RUNNING, 400, 3),
        (S.FAILED, 500, 3),
    ]


def test_a_lost_attempt_tells_why() -> None:
    run = stored(S.COMPLETED, infra_retries=1, started_us=400, ended_us=500)
    events = [event(150, S.RUNNING, 1), event(200, S.READY, 1, R.WORKER_DIED, infra=1, message="signal 9")]
    entry = history_of(run, events)[2]
    assert (entry.state, entry.reason, entry.message) == (S.READY, R.WORKER_DIED, "signal 9")


def test_a_run_lost_with_its_agent_may_not_have_started() -> None:
    run = stored(S.COMPLETED, infra_retries=1, started_us=400, ended_us=500)
    events = [event(200, S.READY, 1, R.AGENT_LOST, infra=1)]
    assert [state for state, _, _ in states(history_of(run, events))] == [
        S.PENDING, S.READY, S.RUNNING, S.COMPLETED,
    ]  # fmt: skip


def test_a_cancelled_run_was_running_before_it_was_cancelling() -> None:
    run = stored(S.CANCELLED, R.CANCEL_REQUESTED, started_us=150, ended_us=300)
    events = [event(200, S.CANCELLING, 1, R.CANCEL_REQUESTED)]
    assert states(history_of(run, events)) == [
        (S.PENDING, 100, 1),
        (S.RUNNING, 150, 1),
        (S.CANCELLING, 200, 1),
        (S.CANCELLED, 300, 1),
    ]


def test_a_run_cancelled_before_it_started_never_ran() -> None:
    run = stored(S.CANCELLED, R.CANCEL_REQUESTED, ended_us=300)
    assert states(history_of(run, [])) == [(S.PENDING, 100, 1), (S.CANCELLED, 300, 1)]


def test_a_running_run_has_its_start_from_the_owner() -> None:
    live = LiveState(S.RUNNING, 0, 2, 0, 400, "local")
    events = [event(200, S.AWAITING_RETRY, 2)]
    assert states(history_of(stored(S.READY), events, live))[-1] == (S.RUNNING, 400, 2)


def test_a_queued_run_is_pending() -> None:
    live = LiveState(S.ASSIGNED, 0, 1, 0, None, "local")
    assert states(history_of(stored(S.READY), [], live)) == [(S.PENDING, 100, 1)]


def test_an_agents_clock_cannot_reorder_the_states() -> None:
    run = stored(S.COMPLETED, started_us=50, ended_us=90)
    assert states(history_of(run, [])) == [(S.PENDING, 100, 1), (S.RUNNING, 100, 1), (S.COMPLETED, 100, 1)]


def test_the_final_state_carries_its_name_and_message() -> None:
    entry = history_of(stored(S.FAILED, started_us=150, ended_us=200), [], None, "Rejected", "why")[-1]
    assert (entry.state_name, entry.message) == ("Rejected", "why")
