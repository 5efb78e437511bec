"""Laws of admission: whatever is known of a run, one gate is first, and all ways to a queue agree on it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard_contract.states import RunKind, RunState, UpstreamKind
from taskyard_controlplane.domain.admission import (
    ALWAYS_ASKED,
    FIRST,
    GATES,
    QUEUE,
    Gate,
    Wait,
    entrance,
    first_gate,
    waiting,
    waits_in_backlog,
    waits_of,
    waits_of_template,
)
from taskyard_controlplane.domain.cells import Choice, Go, leaves
from taskyard_controlplane.domain.effects import Effect
from taskyard_controlplane.domain.events import RunEvent
from taskyard_controlplane.domain.machine import TABLES, admit, restore, transition
from taskyard_controlplane.domain.model import Run, Template
from taskyard_controlplane.owner.journal.restoring import restore_run
from taskyard_controlplane.owner.journal.templates import Templates
from taskyard_controlplane.storage.interface import StoredRun

E = RunEvent
S = RunState
ORDER = [Wait.SESSION, Wait.UPSTREAM, Wait.START_TIME, Wait.CACHE]
BESIDES = [
    Effect.NONE,
    Effect.RECORD_EVENT | Effect.NEXT_ATTEMPT,
    Effect.RECORD_EVENT | Effect.INFRA_RETRY,
    Effect.RECORD_EVENT | Effect.STRIKE,
]
"""What an event that leads to a queue has for consequences of its own."""
every_wait = st.integers(0, sum(ORDER))


def make_run(kind: int, cache_key: str | None, *, decided: bool = False, refresh: bool = False) -> Run:
    template = Template(
        1, b"d", b"", kind=kind, name="t", refresh_cache=refresh, max_retries=1, delays=(1.0,)
    )
    run = Run(1, b"r" * 16, template, S.READY, None, None, None, 0, 0)
    run.cache_key, run.cache_decided = cache_key, decided
    return run


runs = st.builds(
    make_run,
    st.sampled_from([int(RunKind.TASK), int(RunKind.FLOW)]),
    st.sampled_from([None, "key"]),
    decided=st.booleans(),
    refresh=st.booleans(),
)


def test_the_order_of_the_gates_is_the_one_promised() -> None:
    assert [gate.reason for gate in GATES] == ORDER
    assert len({gate.opened_by for gate in GATES}) == len(GATES), "an event opens one gate"


@given(every_wait)
def test_every_combination_of_reasons_has_exactly_one_first_gate(waits: int) -> None:
    stopping = [gate for gate in GATES if gate.reason & waits]
    assert first_gate(waits) is (stopping[0] if stopping else QUEUE)
    assert len(FIRST) == 2 ** len(GATES)


@given(every_wait)
def test_opening_one_gate_after_the_other_leads_through_all_of_them_in_order(waits: int) -> None:
    passed = []
    while (gate := first_gate(waits)) is not QUEUE:
        passed.append(gate.reason)
        waits &= ~gate.reason
    assert passed == [reason for reason in ORDER if reason in passed]
    assert waits == Wait.NOTHING


@given(runs, st.booleans(), st.booleans())
def test_a_run_enters_the_state_of_its_first_gate(run: Run, upstream: bool, later: bool) -> None:
    waits = waits_of(run, upstream=upstream, later=later)
    effects = admit(run, waits)
    assert run.state == first_gate(waits).state
    assert effects == first_gate(waits).effects | Effect.ACCEPTED
    assert bool(effects & Effect.ENQUEUE) is (run.state == S.READY)


@given(runs, st.booleans(), st.booleans())
def test_admission_asks_twice_and_gets_the_same_answer(run: Run, upstream: bool, later: bool) -> None:
    first = admit(run, waits_of(run, upstream=upstream, later=later))
    state = run.state
    assert admit(run, waits_of(run, upstream=upstream, later=later)) == first
    assert run.state == state


@given(runs)
def test_a_plain_run_of_a_template_without_reasons_needs_no_question(run: Run) -> None:
    """What the fast path of submission relies on."""
    if not waits_of_template(run.template) and run.cache_key is None:
        assert waits_of(run) == Wait.NOTHING
        assert first_gate(Wait.NOTHING) is QUEUE


@given(runs)
def test_going_on_after_upstream_is_as_if_there_had_never_been_any(run: Run) -> None:
    """The transition table and a fresh submission agree, cache and refreshing included."""
    if run.template.kind != RunKind.TASK:
        return
    fresh = make_run(
        RunKind.TASK, run.cache_key, decided=run.cache_decided, refresh=run.template.refresh_cache
    )
    effects = admit(fresh, waits_of(fresh))
    admit(run, waits_of(run, upstream=True))
    assert run.state == S.PENDING
    assert transition(run, E.UPSTREAM_DONE) == effects
    assert run.state == fresh.state


@given(st.sampled_from([None, "key"]), st.booleans(), st.booleans())
def test_a_delayed_retry_stands_where_a_run_that_is_not_due_stands(
    cache_key: str | None, decided: bool, refresh: bool
) -> None:
    run, fresh = (make_run(RunKind.TASK, cache_key, decided=decided, refresh=refresh) for _ in range(2))
    restore(run, S.RUNNING)
    effects = transition(run, E.FAILED)
    assert effects & ~(Effect.RECORD_EVENT | Effect.NEXT_ATTEMPT) == admit(fresh, waits_of(fresh, later=True))
    assert run.state == fresh.state == S.AWAITING_RETRY


@given(
    kind=st.sampled_from([int(RunKind.TASK), int(RunKind.FLOW)]),
    cache_key=st.sampled_from([None, "key"]),
    refresh=st.booleans(),
    upstream=st.booleans(),
)
def test_recovery_gives_the_state_of_a_fresh_submission(
    kind: int, cache_key: str | None, refresh: bool, upstream: bool
) -> None:
    fresh = make_run(kind, cache_key, refresh=refresh)
    expected = admit(fresh, waits_of(fresh, upstream=upstream))
    row = StoredRun(
        seq=1, run_id=b"r" * 16, kind=kind, state=S.READY, flow_seq=None, caller_id=None, session_id=None,
        template_id=1, ordinal=0, name=None, args=None, args_blob=None, cache_key=cache_key,
        upstream=b"u" * 16 + bytes((UpstreamKind.DATA,)) if upstream else None, submitted_us=0, reason=0,
        headers=None,
        attempt=1, infra_retries=0, epoch=0, started_us=None, ended_us=None, result=None, outcome=None,
    )  # fmt: skip
    run = restore_run(row, KnownTemplates(fresh.template), None)
    effects = admit(run, waits_of(run, upstream=run.state == S.PENDING))
    assert (run.state, effects) == (fresh.state, expected)


class KnownTemplates(Templates):
    """One template, whatever its number."""

    def __init__(self, template: Template) -> None:
        self._template = template

    def by_id(self, template_id: int) -> Template:
        return self._template


def test_every_way_of_the_table_into_a_queue_is_an_entrance() -> None:
    """No cell queues a run by itself: what it does besides the entrance is its event's business."""
    allowed = {entrance(asked, effects) for asked in (Wait.NOTHING, *ORDER) for effects in BESIDES}
    for row in TABLES[RunKind.TASK].values():
        for cell in row.values():
            for part in parts(cell):
                if isinstance(part, Go) and part.state == S.READY:
                    assert any(part in leaves(one) for one in allowed)
                    assert part.effects & Effect.ENQUEUE


def parts(cell: object) -> list[object]:
    return [cell, *parts(cell.yes), *parts(cell.no)] if isinstance(cell, Choice) else [cell]


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.reason.name)
def test_waiting_at_a_gate_is_its_state_and_its_work(gate: Gate) -> None:
    assert waiting(gate.reason) == Go(gate.state, gate.effects)
    assert TABLES[RunKind.TASK][gate.state]  # the law knows what may happen to a run that waits there


@pytest.mark.parametrize(
    "gate", [gate for gate in GATES if gate.stops is not None], ids=lambda g: g.reason.name
)
def test_a_gate_that_is_asked_stands_before_the_queue(gate: Gate) -> None:
    cell = entrance(gate.reason)
    assert isinstance(cell, Choice)
    assert (cell.guard, cell.yes, cell.no) == (gate.stops, waiting(gate.reason), entrance())
    assert not ALWAYS_ASKED & gate.reason


def test_only_what_its_turn_is_early_enough_for_goes_without_a_record() -> None:
    assert [waits for waits in range(sum(ORDER) + 1) if waits_in_backlog(waits)] == [Wait.NOTHING, Wait.CACHE]
