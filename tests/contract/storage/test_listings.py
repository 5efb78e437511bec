"""Listings of runs: they find what a look at all runs finds, and do not look at more than they may."""

from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import pytest
from support.databases import Database
from support.storage_rows import BAD_ENDS, NOW_US, Batches, bad_ends, ended, new_run, template

from taskyard_contract.states import FIRST_FINAL, RunKind, RunState
from taskyard_controlplane.storage.interface import Reader, RunFilter, RunPage, Store

S = RunState
RUNS = 90
FLOWS = (1, 60)
STATES: list[tuple[RunState, ...]] = [
    (),
    (S.FAILED,),
    (S.NOT_READY, S.CANCELLED, S.CRASHED),
    (S.COMPLETED,),
    (S.COMPLETED, S.FAILED),
    (S.PENDING, S.READY),
    (S.PENDING, S.FAILED),
]
NAMES = ["", "ADD-1", "nothing like it"]


class Recorded(NamedTuple):
    """What a test knows of a run."""

    seq: int
    kind: int
    flow_seq: int | None
    state: int
    name: str

    def fits(self, wanted: RunFilter) -> bool:
        return (
            wanted.kind in (0, self.kind)
            and wanted.flow_seq in (None, self.flow_seq)
            and (not wanted.states or self.state in wanted.states)
            and wanted.name_contains.lower() in self.name.lower()
        )


def _recorded() -> Iterator[Recorded]:
    ends = [S.COMPLETED, S.COMPLETED, S.FAILED, S.PENDING, S.CRASHED, S.CANCELLED, S.NOT_READY]
    for seq in range(1, RUNS + 1):
        flow = max((one for one in FLOWS if one < seq), default=None)
        kind = RunKind.FLOW if seq in FLOWS or seq % 17 == 0 else RunKind.TASK
        name = "given add-12" if seq % 11 == 0 else f"{'flow-1' if kind == RunKind.FLOW else 'add'}-{seq}"
        yield Recorded(seq, kind, flow if seq % 5 else None, ends[seq % len(ends)], name)


ALL = list(_recorded())


@pytest.fixture
def reader(database: Database, store: Store, batch: Batches) -> Reader:
    ends = [ended(run.seq, state=run.state) for run in ALL if run.state >= FIRST_FINAL]
    store.commit(
        batch(
            templates=[template(1, "add"), template(2, "flow-1")],
            new_runs=[
                new_run(
                    run.seq,
                    kind=run.kind,
                    flow_seq=run.flow_seq,
                    template_id=run.kind,
                    name=run.name if run.name.startswith("given") else None,
                )
                for run in ALL
            ],
            ended=ends,
            ended_badly=[(end.seq,) for end in ends if end.state in BAD_ENDS],
        )
    )
    return database.reader()


def _pages(reader: Reader, wanted: RunFilter, limit: int, most: int) -> Iterator[RunPage]:
    before = None
    for _ in range(RUNS + 2):
        page = reader.runs(wanted, before, limit, most)
        yield page
        before = page.next_seq
        if before is None:
            return
    raise AssertionError("the pages do not end")


def _seqs(pages: Iterator[RunPage]) -> list[int]:
    return [listed.run.seq for page in pages for listed in page.runs]


@pytest.mark.parametrize(("limit", "most"), [(100, 100_000), (5, 25)])
def test_every_filter_finds_what_a_look_at_all_runs_finds(reader: Reader, limit: int, most: int) -> None:
    for kind, flow, states, name in product((0, 1, 2), (None, 1, 60), STATES, NAMES):
        wanted = RunFilter(kind, flow, states, name)
        expected = [run.seq for run in reversed(ALL) if run.fits(wanted)]
        assert _seqs(_pages(reader, wanted, limit, most)) == expected, wanted


@pytest.mark.parametrize(
    "part",
    ["add-", "add-4", "-4", "4", "-", "dd-1", "flow-1-", "w-1-3", "1-34", "add-12", "en add", "add-4 "],
)
def test_a_part_of_a_name_is_found_wherever_it_is(reader: Reader, part: str) -> None:
    """The names of most runs are nowhere as they are shown: they are put together."""
    expected = [run.seq for run in reversed(ALL) if part in run.name]
    assert _seqs(_pages(reader, RunFilter(name_contains=part), 100, 1_000)) == expected


def test_a_search_ends_after_so_many_runs_and_says_how_far_it_came(reader: Reader) -> None:
    wanted = RunFilter(name_contains="nothing like it")
    found = reader.runs(wanted, None, 10, 50)
    assert found == RunPage([], RUNS - 49, 50, NOW_US + RUNS - 49)
    assert reader.runs(wanted, found.next_seq, 10, 1_000) == RunPage([], None, RUNS - 50, 0)
    by_number = reader.runs(wanted._replace(flow_seq=60), None, 10, 50)
    assert by_number == RunPage([], 78, 50, NOW_US + 78), "ten: it is as dear as to look at 50 in a row"


def test_a_full_page_says_where_it_ends(reader: Reader) -> None:
    for wanted in (RunFilter(), RunFilter(states=(S.COMPLETED,)), RunFilter(states=(S.FAILED,))):
        found = reader.runs(wanted, None, 4)
        assert (found.next_seq, found.reached_us) == (found.runs[-1].run.seq, NOW_US + found.runs[-1].run.seq)


def test_a_search_goes_over_gaps_at_once(reader: Reader, store: Store, batch: Batches) -> None:
    store.commit(batch(number=2, new_runs=[new_run(10_000_000)]))
    wanted = RunFilter(name_contains="nothing like it")
    first = reader.runs(wanted, None, 10, 100)
    assert first.next_seq == RUNS + 1
    assert reader.runs(wanted, first.next_seq, 10, RUNS).next_seq is None


def test_open_runs_are_not_looked_for_below_the_oldest(
    reader: Reader, store: Store, batch: Batches, database: Database
) -> None:
    wanted = RunFilter(states=(S.PENDING,))
    expected = [run.seq for run in reversed(ALL) if run.state == S.PENDING]
    assert _seqs(_pages(reader, wanted, 100, 1_000)) == expected
    ends = [ended(seq) for seq in expected if seq < 70]
    store.commit(batch(number=2, ended=ends, low_seq=70))
    store.close()
    database.store().open()  # notes it in its row, as upkeep does
    found = reader.runs(wanted, None, 100, 1_000)
    assert [one.run.seq for one in found.runs] == [seq for seq in expected if seq >= 70]
    assert found.looked_at == RUNS - 69


def test_a_run_that_completes_is_written_nowhere_else(reader: Reader, database: Database) -> None:
    assert database.count("ended_badly") == sum(run.state in BAD_ENDS for run in ALL)


@pytest.mark.parametrize("count", [1, 130])
def test_a_bad_end_is_what_the_run_says(database: Database, store: Store, batch: Batches, count: int) -> None:
    """Whatever is named beside the ends: some runs have ended before, or complete, or are not there."""
    seqs = range(1, count + 1)
    named = [(seq,) for seq in range(1, 2 * count + 1)]
    store.commit(batch(templates=[template()], new_runs=[new_run(seq) for seq in seqs]))
    store.commit(batch(ended=[ended(seq) for seq in seqs if seq % 2 == 0], ended_badly=named))
    store.commit(batch(ended=[ended(seq, state=S.FAILED) for seq in seqs], ended_badly=named))
    store.commit(batch(ended=[ended(seq, state=S.CRASHED) for seq in seqs], ended_badly=named))
    odd = [seq for seq in reversed(seqs) if seq % 2]
    assert bad_ends(database.reader(), 50) == {**{state: [] for state in BAD_ENDS}, S.FAILED: odd}
