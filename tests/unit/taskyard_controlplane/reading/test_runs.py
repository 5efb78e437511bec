"""Runs are read without an owner, and completed by one where there is one."""

import asyncio
import itertools
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, TypeVar

import pytest
from support.databases import Database
from support.storage_rows import Batches, ended, event, new_run, run_id, template

from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_contract.errors import RunNotFound
from taskyard_contract.states import RunKind, RunState
from taskyard_controlplane.domain.live_state import LiveState
from taskyard_controlplane.reading.background import Background
from taskyard_controlplane.reading.runs import MAX_SCANNED_PAGES, Live, Page, RunReader, nobody_knows

T = TypeVar("T")
S = RunState

_names = itertools.count(1)


class Reading:
    """A database with runs in it, and readers of them."""

    def __init__(self, database: Database, background: Background) -> None:
        self.store, self.reader = database.store(), database.reader()
        self.store.open()
        self.batch = Batches()
        self._background = background

    def write(self, **parts: Any) -> None:
        self.store.commit(self.batch(templates=[template()], **parts))

    def reads(self, live: Live = nobody_knows) -> RunReader:
        return RunReader(self.reader, self._background, live)


@pytest.fixture
def reading() -> Iterator[Reading]:
    with (
        closing(Database(f"sqlite://?name=reading{next(_names)}")) as database,
        ThreadPoolExecutor(1) as threads,
    ):
        yield Reading(database, Background(threads))


def told(answer: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(answer)


def seqs(page: Page) -> list[int]:
    return [int.from_bytes(run.run_id, "big") for run in page.runs]


def test_without_an_owner_an_open_run_is_as_it_was_recorded(reading: Reading) -> None:
    reading.write(new_runs=[new_run(1), new_run(2)], events=[event(2, state=S.AWAITING_RETRY, attempt=2)])
    reads = reading.reads()
    assert told(reads.run(run_id(1), include_result=True)).state == S.PENDING
    retried = told(reads.run(run_id(2), include_result=True))
    assert (retried.state, retried.attempt) == (S.AWAITING_RETRY, 2)


def test_an_owner_completes_open_runs_and_no_others(reading: Reading) -> None:
    reading.write(new_runs=[new_run(1), new_run(2)], ended=[ended(2)])
    running = LiveState(S.RUNNING, 0, 1, 0, 5, "agent")
    reads = reading.reads(lambda run_id: running)
    assert [run.state for run in told(reads.page(pb.RunFilter(), None, 9)).runs] == [S.COMPLETED, S.RUNNING]
    assert [entry.state for entry in told(reads.history(run_id(1)))] == [S.PENDING, S.RUNNING]
    assert S.COMPLETED in [entry.state for entry in told(reads.history(run_id(2)))]


def test_a_run_that_does_not_exist_is_not_found(reading: Reading) -> None:
    reads = reading.reads()
    for answer in (
        reads.run(run_id(1), include_result=False),
        reads.history(run_id(1)),
        reads.log_of(run_id(1)),
    ):
        with pytest.raises(RunNotFound):
            told(answer)


def test_an_open_state_is_picked_by_what_the_owner_says(reading: Reading) -> None:
    reading.write(new_runs=[new_run(seq) for seq in range(1, 21)], ended=[ended(20)])

    def live(wanted: bytes) -> LiveState:
        state = S.RUNNING if wanted[-1] % 4 == 0 else S.READY
        return LiveState(state, 0, 1, 0, None, "")

    reads, wanted = reading.reads(live), pb.RunFilter(states=[S.RUNNING])  # type: ignore[list-item]  # equal
    first = told(reads.page(wanted, None, 2))
    assert (seqs(first), first.next_position) == ([16, 12], 12)
    assert seqs(told(reads.page(wanted, first.next_position, 9))) == [8, 4]
    both = pb.RunFilter(states=[S.RUNNING, S.COMPLETED])  # type: ignore[list-item]
    assert seqs(told(reads.page(both, None, 9))) == [20, 16, 12, 8, 4]


def test_a_page_that_nothing_fits_ends_after_a_while_and_can_be_gone_on_from(reading: Reading) -> None:
    count = MAX_SCANNED_PAGES * 2 + 1
    reading.write(new_runs=[new_run(seq) for seq in range(1, count + 1)])
    wanted = pb.RunFilter(states=[S.RUNNING])  # type: ignore[list-item]
    reads = reading.reads(lambda one: LiveState(S.RUNNING if one[-1] == 1 else S.READY, 0, 1, 0, None, ""))
    first = told(reads.page(wanted, None, 2))
    assert (first.runs, first.next_position) == ([], 2)
    assert first.searched_to_us == new_run(2).submitted_us
    assert seqs(told(reads.page(wanted, first.next_position, 2))) == [1]


def test_a_search_that_gives_up_says_how_far_it_came(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many reads make a page: what they look at counts together."""
    monkeypatch.setattr("taskyard_controlplane.reading.runs.MOST_LOOKED_AT", 250)
    monkeypatch.setattr("taskyard_controlplane.reading.runs.MOST_AT_ONCE", 2)
    names = {seq: "rare" if seq % 100 < 3 else None for seq in range(1, 601)}
    reading.write(new_runs=[new_run(seq, name=name) for seq, name in names.items()])
    reads, wanted = reading.reads(), pb.RunFilter(name_contains="rare")
    first = told(reads.page(wanted, None, 9))
    assert (seqs(first), first.next_position) == ([600, 502, 501, 500, 402, 401, 400], 351)
    assert first.searched_to_us == new_run(351).submitted_us
    second = told(reads.page(wanted, first.next_position, 4))
    assert (seqs(second), second.searched_to_us) == ([302, 301, 300, 202], 0), "a full page gave up nothing"
    rest = told(reads.page(wanted, second.next_position, 9))
    assert (seqs(rest), rest.next_position, rest.searched_to_us) == ([201, 200, 102, 101, 100, 2, 1], None, 0)


def test_all_fields_of_a_filter_have_to_fit(reading: Reading) -> None:
    reading.write(
        new_runs=[
            new_run(1, kind=RunKind.FLOW, name="flow"),
            new_run(2, flow_seq=1, name="kept"),
            new_run(3, flow_seq=1, name="other"),
            new_run(4, name="kept"),
        ],
        ended=[ended(2)],
    )
    reads = reading.reads()

    def fit(**fields: Any) -> list[int]:
        return seqs(told(reads.page(pb.RunFilter(**fields), None, 9)))

    assert fit() == [4, 3, 2, 1]
    assert fit(flow_run_id=run_id(1)) == [3, 2]
    assert fit(flow_run_id=run_id(1), name_contains="KEPT") == [2]
    assert fit(flow_run_id=run_id(1), states=[S.PENDING]) == [3]
    assert fit(kind=RunKind.FLOW) == [1]
    assert fit(flow_run_id=run_id(9)) == []


def test_templates_are_read_part_by_part_before_runs_are_looked_for_by_them(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading.write(new_runs=[new_run(1)])
    calls: list[str] = []
    parts = iter([False, False, True])
    runs = reading.reader.runs

    def learn() -> bool:
        calls.append("learn")
        return next(parts)

    def look(*args: Any, **options: Any) -> Any:
        calls.append("look")
        return runs(*args, **options)

    monkeypatch.setattr(reading.reader, "learn_templates", learn)
    monkeypatch.setattr(reading.reader, "runs", look)
    told(reading.reads().page(pb.RunFilter(tags=["a"]), None, 10))
    told(reading.reads().page(pb.RunFilter(name_contains="a"), None, 10))
    assert calls == ["learn", "learn", "learn", "look", "look"], "others have the thread in between"
