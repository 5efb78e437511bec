"""The runs inside a flow run, summed up by the database."""

from collections import Counter

import pytest
from support.databases import Database
from support.storage_rows import NOW_US, Batches, ended, new_run, run_id, template

from taskyard_contract.states import RunKind, RunState
from taskyard_controlplane.storage.interface import Reader, RunSums, Store

S = RunState
FLOW, OTHER = 1, 2


@pytest.fixture
def reader(database: Database, store: Store, batch: Batches) -> Reader:
    inside = [new_run(seq, flow_seq=FLOW, template_id=1) for seq in range(3, 9)]
    nested = [new_run(9, kind=RunKind.FLOW, flow_seq=FLOW, template_id=2, state=S.READY)]
    called = [new_run(seq, flow_seq=FLOW, template_id=3, caller_id=run_id(3)) for seq in (10, 11)]
    strange = [new_run(12, flow_seq=OTHER, template_id=1), new_run(13, template_id=1)]
    flows = [new_run(seq, kind=RunKind.FLOW, template_id=2) for seq in (FLOW, OTHER)]
    took = {3: 20, 4: 999, 5: 123_456, 6: 129_999, 10: 0, 12: 5}
    ends = [ended(seq, started_us=NOW_US + seq, ended_us=NOW_US + seq + us) for seq, us in took.items()]
    ends.append(ended(7, state=S.NOT_READY, started_us=None, ended_us=NOW_US + 50))
    store.commit(
        batch(
            templates=[template(1, "add"), template(2, "main"), template(3, "helper")],
            new_runs=[*flows, *inside, *nested, *called, *strange],
            ended=ends,
            ended_badly=[(7,)],
        )
    )
    return database.reader()


def states(sums: RunSums) -> dict[tuple[str, int], int]:
    counted: Counter[tuple[str, int]] = Counter()
    for runs in sums.runs:
        counted[runs.task_name, runs.state] += runs.runs
    return dict(counted)


EXPECTED = {
    ("add", S.COMPLETED): 4,
    ("add", S.NOT_READY): 1,
    ("add", S.PENDING): 1,
    ("main", S.READY): 1,
    ("helper", S.COMPLETED): 1,
    ("helper", S.PENDING): 1,
}


@pytest.mark.parametrize("details", [True, False])
def test_what_is_inside_is_counted_by_task_and_state_and_nothing_else_is(
    reader: Reader, details: bool
) -> None:
    sums = reader.sums(FLOW, None, 100, details=details)
    assert states(sums) == EXPECTED
    assert (sums.next_seq, sums.last_seq) == (None, 11)
    assert {runs.kind for runs in sums.runs if runs.task_name == "main"} == {RunKind.FLOW}


def test_details_say_who_called_and_how_long_it_took_by_two_digits(reader: Reader) -> None:
    sums = reader.sums(FLOW, None, 100, details=True)
    took = Counter(
        {
            (runs.task_name, runs.caller_task_name, runs.first_digits, runs.digits): runs.runs
            for runs in sums.runs
            if runs.state == S.COMPLETED
        }
    )
    assert took == {
        ("add", None, "20", 2): 1,
        ("add", None, "99", 3): 1,
        ("add", None, "12", 6): 2,
        ("helper", "add", "0", 1): 1,
    }
    [longest] = [runs for runs in sums.runs if runs.digits == 6]
    assert (longest.first_started_us, longest.last_ended_us) == (NOW_US + 5, NOW_US + 6 + 129_999)
    [never_started] = [runs for runs in sums.runs if runs.state == S.NOT_READY]
    assert never_started[4:7] == (None, None, 1)


def test_without_details_nobody_looks_for_them(reader: Reader) -> None:
    for runs in reader.sums(FLOW, None, 100, details=False).runs:
        assert runs[3:6] == (None, None, None)
        assert runs[8:] == (None, None)


@pytest.mark.parametrize("most", [1, 2, 4, 9])
def test_pages_add_up_to_the_whole(reader: Reader, most: int) -> None:
    counted: Counter[tuple[str, int]] = Counter()
    beyond: int | None = None
    for _ in range(11):
        sums = reader.sums(FLOW, beyond, most, details=True)
        assert sum(runs.runs for runs in sums.runs) <= most
        counted.update(states(sums))
        beyond = sums.next_seq
        if beyond is None:
            break
    assert counted == EXPECTED
    assert beyond is None


def test_of_what_is_empty_there_is_nothing_to_say(reader: Reader) -> None:
    assert reader.sums(9, None, 100, details=True) == RunSums([], None, 0)
    assert reader.sums(FLOW, 11, 100, details=True) == RunSums([], None, 11)
