"""Folding a run's recorded history gives the record back: recovery forgets nothing that was accepted."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st
from support.owner_harness import FakeClock

from taskyard_contract.states import RunKind, RunState
from taskyard_controlplane.domain.events import RunEvent
from taskyard_controlplane.domain.model import Run, Template
from taskyard_controlplane.owner.journal.commit import Commit
from taskyard_controlplane.owner.journal.journal import Journal
from taskyard_controlplane.owner.journal.restoring import replay_events
from taskyard_controlplane.owner.journal.run_book import RunBook
from taskyard_controlplane.owner.leaving_blobs import LeavingBlobs
from taskyard_controlplane.owner.logs.numbers import LogNumbers
from taskyard_controlplane.owner.metrics import Metrics
from taskyard_controlplane.owner.rules.retry_delays import RetryDelays
from taskyard_controlplane.owner.rules.settling import Settling
from taskyard_controlplane.owner.rules.telling import Telling
from taskyard_controlplane.owner.timers import Timers
from taskyard_controlplane.storage.interface import EndedRow, EventRow

# All but what changes the row of an end that is recorded: see `owner.serving.resuming`.
EVENTS = [event for event in RunEvent if event is not RunEvent.RESUMED]
# Derived states: recovery finds out again whether the run is queued, assigned or waiting.
DERIVED = {RunState.PENDING, RunState.READY, RunState.ASSIGNED, RunState.RUNNING, RunState.AWAITING_CACHE}


class OpenCommit:
    """The one thing a journal needs of a committer here: somewhere to put rows."""

    def __init__(self) -> None:
        self.open = Commit(1)

    def touch(self) -> None:
        """Nothing is ever written."""


def settle(run: Run, history: list[RunEvent]) -> OpenCommit:
    commit, clock, loop = OpenCommit(), FakeClock(), asyncio.new_event_loop()
    try:
        journal = Journal(commit, LogNumbers(clock), LeavingBlobs(lambda: 0.0))  # type: ignore[arg-type]
        telling = Telling(journal, RunBook(), clock)
        settling = Settling(journal, Timers(loop, clock), clock, Metrics(), telling, RetryDelays(lambda: 0.5))
        for event in history:
            clock.seconds += 1
            settling.apply(run, event, reason=0, message=event.name)
    finally:
        loop.close()
    return commit


@given(
    st.sampled_from([RunKind.TASK, RunKind.FLOW]),
    st.integers(0, 3),
    st.integers(0, 3),
    st.sampled_from([(), (0.0, 4.0), (2.0,)]),
    st.lists(st.sampled_from(EVENTS), max_size=40),
)
def test_fold_of_history_is_the_record(
    kind: RunKind, retries: int, infra: int, delays: tuple[float, ...], history: list[RunEvent]
) -> None:
    template = Template(
        1, b"", b"", kind=kind, name="t", max_retries=retries, max_infra_retries=infra, delays=delays
    )
    run = Run(7, b"r" * 16, template, RunState.PENDING, None, None, None, 0, 0)
    rows = settle(run, history).open.rows
    events = [EventRow._make(row) for row in rows.events]
    assert len(rows.ended) == int(run.ended)
    if run.ended:
        last = EndedRow._make(rows.ended[0])
        assert (last.state, last.attempt, last.infra_retries) == (run.state, run.attempt, run.infra_retries)
        assert [event.at_us for event in events] == sorted(event.at_us for event in events)
        return
    restored = Run(7, b"r" * 16, template, RunState.PENDING, None, None, None, 0, 0)
    due_us = replay_events(restored, events)
    assert (restored.attempt, restored.infra_retries) == (run.attempt, run.infra_retries)
    if run.state not in DERIVED:
        assert restored.state == run.state
    if run.state == RunState.AWAITING_RETRY and kind == RunKind.TASK:
        assert due_us is not None


@given(st.lists(st.sampled_from(EVENTS), max_size=40))
def test_attempts_in_the_history_never_fall(history: list[RunEvent]) -> None:
    template = Template(1, b"", b"", name="t", max_retries=3, max_infra_retries=3, delays=(1.0,))
    run = Run(7, b"r" * 16, template, RunState.PENDING, None, None, None, 0, 0)
    events = [EventRow._make(row) for row in settle(run, history).open.rows.events]
    started = [event.attempt for event in events if event.state != RunState.RUNNING]
    assert started == sorted(started)
