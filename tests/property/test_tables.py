"""Laws that hold for every cell of the transition tables and every history of events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard_contract.states import FIRST_FINAL, RunKind, RunState
from taskyard_controlplane.domain.cells import Choice, Go, Ignore, Reject, leaves
from taskyard_controlplane.domain.effects import AFTER_COMMIT, Effect
from taskyard_controlplane.domain.events import RunEvent
from taskyard_controlplane.domain.machine import TABLES, accepts_epoch, transition
from taskyard_controlplane.domain.model import HELD, Run, Template
from taskyard_controlplane.domain.succession import Succession

KINDS = [RunKind.TASK, RunKind.FLOW]
FINAL = [state for state in RunState if state >= FIRST_FINAL]
SERVER_SIDE = [
    RunEvent.UPSTREAM_FAILED, RunEvent.CANCEL_REQUESTED, RunEvent.SESSION_LOST, RunEvent.LOST, RunEvent.DUE,
]  # fmt: skip


def make_run(kind: int = RunKind.TASK, state: int = RunState.PENDING, **options: object) -> Run:
    template = Template(1, b"d", b"", kind=kind, name="t", **options)  # type: ignore[arg-type]
    return Run(1, b"r" * 16, template, state, None, None, None, 0, 0)


templates = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(KINDS),
        "max_retries": st.integers(0, 3),
        "max_infra_retries": st.integers(0, 3),
        "delays": st.lists(st.sampled_from([0.0, 0.5, 2.0]), max_size=3).map(tuple),
        "refresh_cache": st.booleans(),
    }
)
events = st.sampled_from(list(RunEvent))


def answer(run: Run, event: RunEvent) -> Go | Ignore | Reject:
    """Read from the table itself, as people do, what an event means for a run."""
    cell = TABLES[run.template.kind][RunState(run.state)][event]
    while isinstance(cell, Choice):
        cell = cell.yes if cell.guard(run) else cell.no
    return cell


@pytest.mark.parametrize("kind", KINDS)
def test_every_state_names_every_event(kind: RunKind) -> None:
    table = TABLES[kind]
    assert set(table) == set(RunState)
    for state, row in table.items():
        assert set(row) == set(RunEvent), state


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", FINAL)
def test_final_states_absorb_every_event(kind: RunKind, state: RunState) -> None:
    for event in set(RunEvent) - {RunEvent.RESUMED}:
        assert isinstance(TABLES[kind][state][event], Ignore)
        run = make_run(kind, state, max_retries=3)
        assert transition(run, event) == 0
        assert (run.state, run.attempt, run.infra_retries) == (state, 1, 0)


@pytest.mark.parametrize("state", list(RunState))
def test_only_flow_runs_that_have_ended_are_resumed_and_by_another_attempt(state: RunState) -> None:
    assert transition(make_run(RunKind.TASK, state), RunEvent.RESUMED) == 0
    run = make_run(RunKind.FLOW, state)
    effects = transition(run, RunEvent.RESUMED)
    if state in FINAL and state != RunState.NOT_READY:
        assert (run.state, run.attempt) == (RunState.PENDING, 2)
        assert effects & Effect.RECORD_EVENT
    else:
        assert effects == 0


@pytest.mark.parametrize("kind", KINDS)
def test_entering_a_final_state_is_recorded_and_told(kind: RunKind) -> None:
    for state, row in TABLES[kind].items():
        for cell in row.values():
            for leaf in leaves(cell):
                if isinstance(leaf, Go):
                    ends = leaf.state >= FIRST_FINAL and state < FIRST_FINAL
                    assert bool(leaf.effects & Effect.RECORD_END) is ends
                    assert bool(leaf.effects & Effect.NOTIFY) is ends
                    assert bool(leaf.effects & Effect.RELEASE_DOWNSTREAM) is ends


@given(templates, st.lists(events, max_size=40))
def test_counters_never_fall_and_refused_events_change_nothing(
    options: dict[str, object], history: list[RunEvent]
) -> None:
    run, resumed = make_run(**options), 0  # type: ignore[arg-type]
    for event in history:
        before = (run.state, run.attempt, run.infra_retries)
        written = answer(run, event)
        effects = transition(run, event)
        after = (run.state, run.attempt, run.infra_retries)
        if isinstance(written, Go):
            assert (run.state, effects) == (written.state, written.effects | Effect.ACCEPTED)
        else:
            assert written.why
            assert (effects, after) == (0, before)
        assert after[1] >= before[1]
        assert after[2] >= before[2]
        resumed += event is RunEvent.RESUMED and isinstance(written, Go)
        assert run.attempt <= run.template.max_retries + 1 + resumed
        assert run.infra_retries <= run.template.max_infra_retries


@given(templates, st.lists(events, max_size=30))
def test_every_open_run_can_be_ended_by_the_server_alone(
    options: dict[str, object], history: list[RunEvent]
) -> None:
    run = make_run(**options)  # type: ignore[arg-type]
    for event in history:
        transition(run, event)
    transition(run, RunEvent.CANCEL_REQUESTED)
    for _ in range(2):
        transition(run, RunEvent.LOST if run.template.kind == RunKind.TASK else RunEvent.SESSION_LOST)
    assert run.ended


@given(templates, st.lists(events, max_size=30), events)
def test_an_end_reported_twice_counts_once(
    options: dict[str, object], history: list[RunEvent], last: RunEvent
) -> None:
    run = make_run(**options)  # type: ignore[arg-type]
    for event in history:
        transition(run, event)
    ended = 0
    for event in (last, last):
        ended += bool(transition(run, event) & Effect.RECORD_END)
    assert ended <= 1


def test_unassigned_runs_reject_reports() -> None:
    for state in (RunState.PENDING, RunState.READY, RunState.AWAITING_RETRY, RunState.AWAITING_CACHE):
        for event in (RunEvent.SUCCEEDED, RunEvent.FAILED, RunEvent.CACHE_KEY_KNOWN):
            assert isinstance(TABLES[RunKind.TASK][state][event], Reject)


def test_only_effects_others_can_see_wait_for_the_commit() -> None:
    inner = (
        Effect.ACCEPTED
        | Effect.RECORD_EVENT
        | Effect.RECORD_END
        | Effect.NEXT_ATTEMPT
        | Effect.INFRA_RETRY
        | Effect.STRIKE
        | Effect.CONNECT_UPSTREAM  # inside the owner: a new run is told of ends from then on
    )
    assert not inner & AFTER_COMMIT
    for effect in Effect:
        assert effect in inner or effect in AFTER_COMMIT


@given(st.integers(1, 9), st.integers(0, 1000), st.integers(1, 9), st.integers(0, 1000), st.integers(1, 9))
def test_epochs_fence(
    recorded_generation: int, recorded: int, reported_generation: int, reported: int, generation: int
) -> None:
    run = make_run(state=RunState.ASSIGNED)
    run.epoch = recorded_generation << 32 | recorded
    epoch = reported_generation << 32 | reported
    owner = Succession(generation, first_seq=run.seq + 1)
    assert accepts_epoch(run, epoch, owner.believed_below) is (epoch == run.epoch)
    owner.take_over()
    if accepts_epoch(run, epoch, owner.believed_below):
        assert epoch >= run.epoch
        # Whoever was superseded by an assignment of this generation never speaks for the run again.
        assert epoch == run.epoch or recorded_generation < generation
    elif run.epoch == epoch:
        raise AssertionError("the current epoch must be accepted")


@given(st.integers(1, 9), st.integers(0, 9), st.integers(0, 1000), st.sampled_from(RunState))
def test_epochs_of_earlier_owners_are_none_of_a_run_that_this_one_has_made(
    generation: int, reported_generation: int, reported: int, state: RunState
) -> None:
    owner = Succession(generation, first_seq=1)
    owner.take_over()
    run = make_run(state=state)
    run.epoch = owner.epoch_of(run.seq)
    epoch = reported_generation << 32 | reported
    assert not accepts_epoch(run, epoch, owner.believed_below) or epoch == run.epoch
    run.epoch = owner.epoch_of(0)
    may = 0 < epoch < owner.first_epoch and state < FIRST_FINAL
    assert accepts_epoch(run, epoch, owner.believed_below) is (may or (epoch == 0 and state in HELD))


def test_an_ended_run_accepts_no_epoch() -> None:
    run = make_run(state=RunState.COMPLETED)
    assert not accepts_epoch(run, run.epoch, 1 << 32)


@given(st.sampled_from(RunState), st.integers(1, 9))
def test_an_attempt_that_was_decided_speaks_no_more(state: RunState, generation: int) -> None:
    """What was reported, lost or given back left the states in which an agent has the run."""
    run = make_run(state=state)
    run.epoch = 5 << 32 | 7
    assert accepts_epoch(run, run.epoch, generation << 32) is (state in HELD)
