"""Laws that hold for every cell of the table of a worker's life, and for every sequence of events."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard_agent.processes.worker_phase import (
    AT_WORK,
    LEFT,
    TABLE,
    Ignore,
    ImpossibleEvent,
    Reject,
    WorkerEvent,
    WorkerPhase,
    after,
)

events = st.sampled_from(list(WorkerEvent))


def reached(sequence: list[WorkerEvent]) -> list[WorkerPhase]:
    """The phases of a worker to which these things happen; what cannot happen does not."""
    phases = [WorkerPhase.STARTING]
    for event in sequence:
        with contextlib.suppress(ImpossibleEvent):
            phases.append(after(phases[-1], event))
    return phases


def test_every_phase_names_every_event() -> None:
    assert set(TABLE) == set(WorkerPhase)
    for phase, row in TABLE.items():
        assert set(row) == set(WorkerEvent), phase


def test_what_is_ignored_or_rejected_says_why() -> None:
    for row in TABLE.values():
        for cell in row.values():
            assert isinstance(cell, WorkerPhase) or cell.why


@pytest.mark.parametrize("phase", WorkerPhase)
def test_a_process_may_die_at_any_moment(phase: WorkerPhase) -> None:
    assert after(phase, WorkerEvent.EXITED) is WorkerPhase.GONE


@pytest.mark.parametrize("phase", WorkerPhase)
@pytest.mark.parametrize("event", [WorkerEvent.READY, WorkerEvent.EMPTIED])
def test_nothing_a_process_says_is_impossible(phase: WorkerPhase, event: WorkerEvent) -> None:
    assert not isinstance(TABLE[phase][event], Reject), "user code must not be able to upset the agent"


def test_runs_are_given_only_to_workers_that_are_ready_and_stay() -> None:
    taking = {phase for phase, row in TABLE.items() if isinstance(row[WorkerEvent.GIVEN], WorkerPhase)}
    assert taking == {WorkerPhase.IDLE, WorkerPhase.BUSY}


def test_only_a_worker_with_runs_is_ended_and_only_one_without_rests() -> None:
    for phase, row in TABLE.items():
        assert (row[WorkerEvent.END] is WorkerPhase.ENDING) == (phase is WorkerPhase.BUSY)
        assert (row[WorkerEvent.REST] is WorkerPhase.RESTING) == (phase is WorkerPhase.IDLE)


def test_a_worker_counts_or_rests_or_leaves() -> None:
    assert AT_WORK | LEFT | {WorkerPhase.RESTING} == set(WorkerPhase)
    assert not AT_WORK & LEFT


@given(st.lists(events))
def test_who_is_on_the_way_out_never_comes_back(sequence: list[WorkerEvent]) -> None:
    phases = reached(sequence)
    left = [phase in LEFT for phase in phases]
    assert left == sorted(left)
    gone = [phase is WorkerPhase.GONE for phase in phases]
    assert gone == sorted(gone)


def test_every_phase_is_reached() -> None:
    seen, todo = set(), [WorkerPhase.STARTING]
    while todo:
        phase = todo.pop()
        seen.add(phase)
        todo += [cell for cell in TABLE[phase].values() if isinstance(cell, WorkerPhase) and cell not in seen]
    assert seen == set(WorkerPhase)


def test_an_impossible_event_says_what_was_wrong() -> None:
    assert isinstance(TABLE[WorkerPhase.STARTING][WorkerEvent.WAKE], Reject)
    assert isinstance(TABLE[WorkerPhase.IDLE][WorkerEvent.READY], Ignore)
    with pytest.raises(ImpossibleEvent, match=r"STARTING cannot be told GIVEN: it has not said"):
        after(WorkerPhase.STARTING, WorkerEvent.GIVEN)
