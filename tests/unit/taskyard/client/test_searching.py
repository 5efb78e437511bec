"""Runs are listed in the order that is wanted, completely, or it is said why not."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from taskyard.client.reading import searching
from taskyard.client.reading.searching import Search
from taskyard.exceptions import SearchTooWide
from taskyard_api.v1.run_service_pb2 import ListRunsResponse, Run, RunFilter


def a_run(number: int, **fields: Any) -> Run:
    return Run(run_id=bytes([number]) * 16, name=f"run-{number}", submitted_us=number, **fields)


class Calls:
    """A control plane with some runs, in pages of two; ``searched`` pages before them are empty."""

    def __init__(self, *runs: Run, searched: int = 0) -> None:
        self.runs = runs
        self.searched = searched
        self.pages = 0
        self.sizes: list[int] = []

    def run_pages(
        self, wanted: RunFilter, limit: int, *, oldest_first: bool = False
    ) -> Iterator[ListRunsResponse]:
        self.sizes.append(limit)
        inside = [run for run in self.runs if wanted.flow_run_id in (b"", run.flow_run_id)]
        inside.sort(key=lambda run: run.submitted_us, reverse=not oldest_first)
        for _ in range(self.searched):
            self.pages += 1
            yield ListRunsResponse(next_page_token="more", searched_to_us=1)
        for first in range(0, len(inside), 2):
            self.pages += 1
            token = "more" if first + 2 < len(inside) else ""
            yield ListRunsResponse(runs=inside[first : first + 2], next_page_token=token)


def listed(calls: Any, sort: str = "ID_DESC", limit: int | None = None, offset: int = 0, **more: Any) -> str:
    asked: Sequence[RunFilter] = more.get("asked", [RunFilter()])
    found = Search(calls).listed(asked, more.get("test"), sort, limit, offset)
    return " ".join(run.name.removeprefix("run-") for run in found)


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("ID_DESC", "5 4 3 2 1"),
        ("EXPECTED_START_TIME_DESC", "5 4 3 2 1"),
        ("EXPECTED_START_TIME_ASC", "1 2 3 4 5"),
        ("NAME_ASC", "1 2 3 4 5"),
        ("NAME_DESC", "5 4 3 2 1"),
        ("START_TIME_ASC", "4 5 2 3 1"),
        ("START_TIME_DESC", "2 5 4 3 1"),
        ("END_TIME_DESC", "5 4 3 2 1"),
        ("NEXT_SCHEDULED_START_TIME_ASC", "3 5 4 2 1"),
    ],
)
def test_orders(sort: str, expected: str) -> None:
    runs = [
        a_run(1),
        a_run(2, started_us=30),
        a_run(3, due_us=7),
        a_run(4, started_us=10),
        a_run(5, started_us=20),
    ]
    assert listed(Calls(*runs), sort) == expected


def test_limit_and_offset() -> None:
    runs = [a_run(number) for number in range(1, 8)]
    assert listed(Calls(*runs), limit=2, offset=1) == "6 5"
    assert listed(Calls(*runs), "NAME_ASC", limit=2, offset=5) == "6 7"
    assert listed(Calls(*runs), limit=0) == ""
    for limit, offset in ((-1, 0), (1, -1)):
        with pytest.raises(ValueError, match="must not be negative"):
            listed(Calls(), limit=limit, offset=offset)


def test_no_more_is_read_than_is_wanted() -> None:
    calls = Calls(*(a_run(number) for number in range(1, 8)))
    assert listed(calls, limit=2) == "7 6"
    assert (calls.pages, calls.sizes) == (1, [2])


def test_what_is_tested_here_is_read_in_whole_pages() -> None:
    calls = Calls(*(a_run(number) for number in range(1, 8)))
    assert listed(calls, limit=1, test=lambda run: run.name == "run-3") == "3"
    assert calls.sizes == [1_000]


def test_flow_runs_are_merged_in_order() -> None:
    runs = [a_run(number, flow_run_id=bytes([number % 2]) * 16) for number in range(1, 7)]
    asked = [RunFilter(flow_run_id=bytes([part]) * 16) for part in (0, 1)]
    assert listed(Calls(*runs), asked=asked) == "6 5 4 3 2 1"
    assert listed(Calls(*runs), "EXPECTED_START_TIME_ASC", asked=asked, limit=3) == "1 2 3"


def test_too_many_runs_are_an_error_and_no_partial_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "MOST_READ", 4)
    runs = [a_run(number) for number in range(1, 8)]
    with pytest.raises(SearchTooWide, match=r"too many runs .*: 6 were read.*expected_start_time"):
        listed(Calls(*runs), "NAME_ASC", limit=1)
    assert listed(Calls(*runs), limit=1) == "7"
    assert listed(Calls(*runs[:4]), "NAME_ASC", limit=1) == "1"


def test_searches_that_find_nothing_have_an_end() -> None:
    assert listed(Calls(a_run(1), searched=searching.MOST_SEARCHED)) == "1"
    with pytest.raises(SearchTooWide):
        listed(Calls(a_run(1), searched=searching.MOST_SEARCHED + 1))
