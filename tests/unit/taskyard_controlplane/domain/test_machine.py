"""The rules of runs, case by case."""

import math

import pytest

from taskyard_contract.states import RunKind, RunState
from taskyard_controlplane.domain.diagrams import page
from taskyard_controlplane.domain.effects import Effect
from taskyard_controlplane.domain.events import RunEvent as E
from taskyard_controlplane.domain.machine import transition
from taskyard_controlplane.domain.model import Run, Template
from taskyard_controlplane.domain.retries import LONGEST_DELAY, delay_after, jittered

S = RunState


def make_run(state: RunState = S.RUNNING, kind: RunKind = RunKind.TASK, **options: object) -> Run:
    template = Template(1, b"d", b"", kind=kind, name="t", **options)  # type: ignore[arg-type]
    return Run(1, b"r" * 16, template, state, None, None, None, 0, 0)


def states_after(run: Run, *events: E) -> list[RunState]:
    entered = []
    for event in events:
        transition(run, event)
        entered.append(RunState(run.state))
    return entered


def test_happy_path() -> None:
    run = make_run(S.PENDING)
    assert states_after(run, E.UPSTREAM_DONE, E.DISPATCHED, E.STARTED, E.SUCCEEDED) == [
        S.READY, S.ASSIGNED, S.RUNNING, S.COMPLETED,
    ]  # fmt: skip


def test_a_report_needs_no_started_before_it() -> None:
    assert states_after(make_run(S.ASSIGNED), E.SUCCEEDED) == [S.COMPLETED]


def test_b4_1_attempts_are_retries_plus_one() -> None:
    run = make_run(max_retries=2)
    assert states_after(run, E.FAILED, E.DISPATCHED, E.FAILED, E.DISPATCHED, E.FAILED) == [
        S.READY, S.ASSIGNED, S.READY, S.ASSIGNED, S.FAILED,
    ]  # fmt: skip
    assert run.attempt == 3


def test_b4_1_a_delay_parks_the_run_without_a_slot() -> None:
    run = make_run(max_retries=1, delays=(5.0,))
    effects = transition(run, E.FAILED)
    assert run.state == S.AWAITING_RETRY
    assert effects & Effect.SET_RETRY_TIMER
    assert states_after(run, E.DUE) == [S.READY]


@pytest.mark.parametrize(("failed", "expected"), [(1, 1.0), (2, 2.0), (3, 2.0), (9, 2.0)])
def test_b4_1_the_last_delay_of_a_list_repeats(failed: int, expected: float) -> None:
    assert delay_after(Template(1, b"", b"", delays=(1.0, 2.0)), failed) == expected


def test_b4_a_refused_retry_fails_at_once() -> None:
    assert states_after(make_run(max_retries=5), E.FAILED_FOR_GOOD) == [S.FAILED]


@pytest.mark.parametrize(("random", "expected"), [(0.0, 5.0), (0.5, 10.0), (1.0, 15.0)])
def test_jitter_spreads_around_the_delay(random: float, expected: float) -> None:
    assert jittered(10.0, 0.5, random) == expected


@pytest.mark.parametrize("factor", [0.1, 0.5, 1.0, 2.0])
def test_jitter_keeps_to_what_the_contract_says(factor: float) -> None:
    draws = [jittered(10.0, factor, number / 1000) for number in range(1001)]
    assert min(draws) == pytest.approx(max(0.0, 10.0 * (1 - factor)))
    assert max(draws) == pytest.approx(10.0 * (1 + factor))
    mean = sum(draws) / len(draws)
    assert mean == pytest.approx(10.0 if factor <= 1 else 15.0)


@pytest.mark.parametrize("random", [0.0, 0.5, 0.999])
def test_jitter_of_any_factor_gives_a_delay_that_clocks_can_count(random: float) -> None:
    assert jittered(10.0, math.nan, random) == 10.0
    for factor in (1e300, math.inf):
        assert 0.0 <= jittered(10.0, factor, random) <= LONGEST_DELAY


def test_jitter_of_a_large_factor_never_goes_below_zero() -> None:
    assert jittered(10.0, 3.0, 0.0) == 0.0
    assert jittered(0.0, 3.0, 0.7) == 0.0


def test_a_lost_worker_is_not_an_attempt_of_the_user() -> None:
    run = make_run(max_infra_retries=1)
    assert states_after(run, E.LOST) == [S.READY]
    assert (run.attempt, run.infra_retries) == (1, 1)
    assert states_after(run, E.DISPATCHED, E.LOST) == [S.ASSIGNED, S.CRASHED]


def test_b7_a_failed_upstream_makes_not_ready() -> None:
    assert states_after(make_run(S.PENDING), E.UPSTREAM_FAILED) == [S.NOT_READY]


@pytest.mark.parametrize("state", [S.PENDING, S.READY, S.AWAITING_RETRY, S.AWAITING_CACHE])
def test_c2_cancelling_what_has_not_started_is_immediate(state: RunState) -> None:
    assert states_after(make_run(state), E.CANCEL_REQUESTED) == [S.CANCELLED]


@pytest.mark.parametrize("end", [E.SUCCEEDED, E.FAILED, E.LOST, E.ENDED_CANCELLED, E.INTERRUPTED])
def test_b2_cancelling_ends_only_in_cancelled(end: E) -> None:
    run = make_run(S.RUNNING, max_retries=3)
    effects = transition(run, E.CANCEL_REQUESTED)
    assert (run.state, bool(effects & Effect.SEND_CANCEL)) == (S.CANCELLING, True)
    assert states_after(run, end) == [S.CANCELLED]


def test_a_known_cache_key_is_decided_before_a_slot_is_taken() -> None:
    run = make_run(S.PENDING)
    run.cache_key = "k"
    assert transition(run, E.UPSTREAM_DONE) & Effect.LOOK_UP_CACHE
    assert states_after(run, E.CACHE_HIT) == [S.COMPLETED]


def test_refresh_cache_does_not_look() -> None:
    run = make_run(S.PENDING, refresh_cache=True)
    run.cache_key = "k"
    assert states_after(run, E.UPSTREAM_DONE) == [S.READY]


def test_a_key_computed_by_the_worker_ends_the_attempt_without_counting_it() -> None:
    run = make_run(S.ASSIGNED)
    assert states_after(run, E.CACHE_KEY_KNOWN, E.CACHE_LEADS, E.DISPATCHED) == [
        S.AWAITING_CACHE, S.READY, S.ASSIGNED,
    ]  # fmt: skip
    assert run.attempt == 1


def test_a_lost_session_leaves_what_has_started() -> None:
    assert states_after(make_run(S.RUNNING), E.SESSION_LOST) == [S.RUNNING]
    assert states_after(make_run(S.READY), E.SESSION_LOST) == [S.CANCELLED]


def test_b11_4_a_flow_retry_stays_in_the_same_run() -> None:
    run = make_run(S.PENDING, RunKind.FLOW, max_retries=1)
    assert states_after(run, E.STARTED, E.FAILED, E.STARTED, E.FAILED) == [
        S.RUNNING, S.AWAITING_RETRY, S.RUNNING, S.FAILED,
    ]  # fmt: skip


def test_a_flow_of_a_lost_session_crashes() -> None:
    assert states_after(make_run(S.RUNNING, RunKind.FLOW), E.SESSION_LOST) == [S.CRASHED]


def test_cancelling_a_flow_takes_its_runs_along_and_waits_for_its_body() -> None:
    run = make_run(S.RUNNING, RunKind.FLOW)
    effects = transition(run, E.CANCEL_REQUESTED)
    assert run.state == S.CANCELLING
    assert effects & Effect.REQUEST_CANCEL
    assert effects & Effect.CANCEL_INSIDE
    assert states_after(run, E.SUCCEEDED) == [S.CANCELLED]


def test_diagrams_show_both_machines() -> None:
    text = page()
    assert "PENDING --> READY: UPSTREAM_DONE [not needs_cache_decision]" in text
    assert "RUNNING --> AWAITING_RETRY: FAILED [has_retry]" in text
