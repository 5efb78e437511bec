"""What else runs can be asked for by, in both orders, and counted: what a look at all runs finds is found."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from support.databases import Database
from support.storage_rows import BAD_ENDS, NOW_US, Batches, ended, new_run, run_id

from taskyard_api.v1.template_pb2 import RunTemplate
from taskyard_contract.states import FIRST_FINAL, RunKind, RunState
from taskyard_controlplane.storage import template_catalogue
from taskyard_controlplane.storage.interface import MOST_LOOKED_AT, Reader, RunFilter, Store
from taskyard_controlplane.storage.searching import CLOCK_SLACK_US

S = RunState
RUNS = 60
FLOW = 2
DAY_US = 24 * CLOCK_SLACK_US
TEMPLATES = {
    1: RunTemplate(name="add", task_key="m:add", queue="default", tags=["nightly"]),
    2: RunTemplate(name="flow", task_key="m:flow"),
    3: RunTemplate(name="add", task_key="other:add", queue="gpu", tags=["nightly", "big"]),
    4: RunTemplate(name="gpu", task_key="m:gpu", queue="default", tags=["default", "m:add"]),
}
ENDS = [S.COMPLETED, S.FAILED, S.PENDING, S.COMPLETED, S.CRASHED]


class Known(NamedTuple):
    seq: int
    kind: int
    template: int
    state: int
    flow: int | None
    caller: int | None
    submitted_us: int


def _known() -> Iterator[Known]:
    for seq in range(1, RUNS + 1):
        template = FLOW if seq == FLOW else (1, 3, 4)[seq % 3]
        kind = RunKind.FLOW if seq == FLOW else RunKind.TASK
        flow = FLOW if seq > FLOW and seq % 4 else None
        caller = 7 if seq > 7 and seq % 5 == 0 else None
        yield Known(seq, kind, template, ENDS[seq % len(ENDS)], flow, caller, NOW_US + seq * DAY_US)


ALL = list(_known())
AT = {run.seq: run.submitted_us for run in ALL}

Fits = Callable[[Known], bool]
FILTERS: list[tuple[dict[str, Any], Fits]] = [
    ({}, lambda run: True),
    ({"task_name": "add"}, lambda run: run.template in (1, 3)),
    ({"task_name": "gpu"}, lambda run: run.template == 4),
    ({"task_name": "ad"}, lambda run: False),
    ({"task_name": "a\x00d"}, lambda run: False),
    ({"task_key": "m:add"}, lambda run: run.template == 1),
    ({"queue": "gpu"}, lambda run: run.template == 3),
    ({"queue": "default"}, lambda run: run.template in (1, 4)),
    ({"tags": ("nightly",)}, lambda run: run.template in (1, 3)),
    ({"tags": ("nightly", "big")}, lambda run: run.template == 3),
    ({"tags": ("nightly", "nowhere")}, lambda run: False),
    ({"queue": "gpu", "flow_seq": FLOW}, lambda run: run.template == 3 and run.flow == FLOW),
    ({"caller_id": run_id(7)}, lambda run: run.caller == 7),
    ({"run_ids": ()}, lambda run: False),
    ({"run_ids": tuple(map(run_id, (50, 3, 9, 3, 999)))}, lambda run: run.seq in (3, 9, 50)),
    ({"run_ids": tuple(map(run_id, range(1, 40))), "states": (S.FAILED,)},
     lambda run: run.seq < 40 and run.state == S.FAILED),
    ({"run_ids": tuple(map(run_id, range(1, 40))), "flow_seq": FLOW, "kind": RunKind.TASK},
     lambda run: run.seq < 40 and run.flow == FLOW),
    ({"from_us": AT[30]}, lambda run: run.seq >= 30),
    ({"before_us": AT[30]}, lambda run: run.seq < 30),
    ({"from_us": AT[10] + 1, "before_us": AT[20] + 1}, lambda run: 10 < run.seq <= 20),
    ({"from_us": AT[60] + 1}, lambda run: False),
    ({"before_us": AT[1]}, lambda run: False),
    ({"from_us": AT[20], "before_us": AT[40], "flow_seq": FLOW},
     lambda run: 20 <= run.seq < 40 and run.flow == FLOW),
    ({"from_us": AT[20], "before_us": AT[40], "states": (S.FAILED, S.CRASHED)},
     lambda run: 20 <= run.seq < 40 and run.state in (S.FAILED, S.CRASHED)),
    ({"kind": RunKind.FLOW}, lambda run: run.seq == FLOW),
    ({"flow_seq": FLOW, "states": (S.FAILED,)}, lambda run: run.flow == FLOW and run.state == S.FAILED),
    ({"states": (S.PENDING,), "tags": ("big",)}, lambda run: run.state == S.PENDING and run.template == 3),
]  # fmt: skip


@pytest.fixture
def reader(database: Database, store: Store, batch: Batches) -> Reader:
    ends = [ended(run.seq, state=run.state) for run in ALL if run.state >= FIRST_FINAL]
    store.commit(
        batch(
            templates=[
                (number, b"digest %d" % number, one.SerializeToString(), one.name)
                for number, one in TEMPLATES.items()
            ],
            new_runs=[
                new_run(
                    run.seq,
                    kind=run.kind,
                    flow_seq=run.flow,
                    template_id=run.template,
                    caller_id=run_id(run.caller) if run.caller else None,
                    submitted_us=run.submitted_us,
                )
                for run in ALL
            ],
            ended=ends,
            ended_badly=[(end.seq,) for end in ends if end.state in BAD_ENDS],
        )
    )
    return database.reader()


def _seqs(reader: Reader, wanted: RunFilter, limit: int, most: int, *, oldest_first: bool) -> list[int]:
    seqs: list[int] = []
    beyond = None
    for _ in range(RUNS + 2):
        page = reader.runs(wanted, beyond, limit, most, oldest_first=oldest_first)
        seqs += [one.run.seq for one in page.runs]
        beyond = page.next_seq
        if beyond is None:
            return seqs
    raise AssertionError("the pages do not end")


@pytest.mark.parametrize("oldest_first", [False, True])
@pytest.mark.parametrize(("limit", "most"), [(100, 100_000), (4, 20)])
def test_every_field_finds_what_a_look_at_all_runs_finds(
    reader: Reader, limit: int, most: int, oldest_first: bool
) -> None:
    for fields, fits in FILTERS:
        expected = sorted((run.seq for run in ALL if fits(run)), reverse=not oldest_first)
        found = _seqs(reader, RunFilter(**fields), limit, most, oldest_first=oldest_first)
        assert found == expected, fields


def test_runs_are_counted_as_they_are_listed(reader: Reader) -> None:
    for fields, fits in FILTERS:
        wanted = RunFilter(**fields)
        counted = reader.ended_counts(wanted)
        ends = Counter(run.state for run in ALL if fits(run) and run.state >= FIRST_FINAL)
        assert (counted.counts, counted.reached_us) == (ends, 0), fields
        still_open = [run_id(run.seq) for run in ALL if fits(run) and run.state == S.PENDING]
        if not wanted.states or S.PENDING in wanted.states:
            assert _open(reader, wanted, 100) == _open(reader, wanted, 2) == still_open[::-1], fields
            assert _open(reader, wanted, 100, most=7) == still_open[::-1], fields


def _open(reader: Reader, wanted: RunFilter, limit: int, most: int = MOST_LOOKED_AT) -> list[bytes]:
    ids: list[bytes] = []
    beyond: int | None = None
    while True:
        page = reader.open_runs(wanted, beyond, limit, most)
        assert page.looked_at <= most + 5, "one that is read by its number counts as five"
        ids += [one.run_id for one in page.runs]
        beyond = page.next_seq
        if beyond is None:
            return ids


def test_templates_are_read_in_parts(
    store: Store, batch: Batches, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template_catalogue, "PART", 600)
    definition = RunTemplate(name="many", queue="many").SerializeToString()
    many = [(number, b"%032d" % number, definition, "many") for number in range(1, 2_001)]
    store.commit(batch(templates=many, new_runs=[new_run(1), new_run(2, template_id=1_999)]))
    reader = database.reader()
    assert [reader.learn_templates() for _ in range(3)] == [False, True, True]
    more = [(2_001, b"more", definition, "many")]
    store.commit(batch(templates=more, new_runs=[new_run(3, template_id=2_001)]))
    found = reader.runs(RunFilter(queue="many"), None, 10)
    assert [one.run.seq for one in found.runs] == [3, 2, 1], "what came since is known without being learned"


def test_open_runs_are_looked_for_among_so_many_and_it_says_how_far(reader: Reader) -> None:
    found = reader.open_runs(RunFilter(name_contains="nothing like it"), None, 10, 20)
    assert (found.runs, found.next_seq, found.looked_at) == ([], RUNS - 19, 20)
    assert found.reached_us == AT[RUNS - 19]


def test_a_count_ends_after_so_many_runs_and_says_how_far_it_came(reader: Reader) -> None:
    counted = reader.ended_counts(RunFilter(), 10)
    assert sum(counted.counts.values()) == sum(run.state >= FIRST_FINAL for run in ALL if run.seq > RUNS - 10)
    assert counted.reached_us == AT[RUNS - 9]
    by_number = reader.ended_counts(RunFilter(flow_seq=FLOW), 10)
    assert (sum(by_number.counts.values()), by_number.reached_us) == (2, AT[58]), "58 and 59"


def test_oldest_first_a_search_says_how_far_it_came(reader: Reader) -> None:
    wanted = RunFilter(name_contains="nothing like it")
    page = reader.runs(wanted, None, 10, 25, oldest_first=True)
    assert (page.runs, page.next_seq, page.reached_us) == ([], 25, AT[25])
    rest = reader.runs(wanted, 25, 10, 1_000, oldest_first=True)
    assert (rest.next_seq, rest.reached_us) == (None, 0)


def test_runs_are_found_by_time_although_the_clock_was_turned_back(
    reader: Reader, store: Store, batch: Batches
) -> None:
    earlier = AT[60] - CLOCK_SLACK_US // 2
    store.commit(batch(number=2, new_runs=[new_run(seq, submitted_us=earlier + seq) for seq in (61, 62)]))
    for oldest_first in (False, True):
        since = RunFilter(from_us=AT[60])
        assert _seqs(reader, since, 9, 1_000, oldest_first=oldest_first) == [60]
        before = RunFilter(from_us=AT[59], before_us=AT[60])
        found = _seqs(reader, before, 9, 1_000, oldest_first=oldest_first)
        assert sorted(found) == [59, 61, 62]


def test_templates_that_come_later_are_found_too(reader: Reader, store: Store, batch: Batches) -> None:
    wanted = RunFilter(queue="later")
    assert reader.runs(wanted, None, 9).runs == []
    many = [
        (number, b"digest %d" % number, RunTemplate(name="t", queue="later").SerializeToString(), "t")
        for number in range(10, 1_200)
    ]
    new = [new_run(100 + number, template_id=number) for number in (10, 700, 1_199)]
    store.commit(batch(number=2, templates=many, new_runs=new))
    assert [one.run.seq for one in reader.runs(wanted, None, 9).runs] == [1_299, 800, 110]


def test_arguments_and_results_come_only_where_they_are_asked_for(reader: Reader) -> None:
    for fields in ({}, {"flow_seq": FLOW}):
        [brief] = reader.runs(RunFilter(**fields), None, 1).runs  # type: ignore[arg-type]
        [whole] = reader.runs(RunFilter(**fields), None, 1, whole=True).runs  # type: ignore[arg-type]
        assert (brief.run.args, brief.run.result) == (None, None)
        assert whole.run.args == b"args"
