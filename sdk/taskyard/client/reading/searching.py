"""Lists runs in the order that is wanted, as far as that can be done with a bounded effort.

Invariant: an answer is complete, or it is an error. What is found out page by page has an end, at which it is
said what to do, so that nobody takes a part for the whole.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from taskyard._data.runs.tracking import as_tracking_run, is_subflow
from taskyard._network.server.run_calls import RUN_PAGE
from taskyard.client.reading.matching import RunTest
from taskyard.exceptions import SearchTooWide
from taskyard_contract.states import RunKind

if TYPE_CHECKING:
    from taskyard._network.server.calls import Client
    from taskyard_api.v1.run_service_pb2 import Run, RunFilter

DEFAULT_LIMIT: Final = 200
MOST_READ: Final = 200_000
"""Runs that are read for one answer, and then tested or sorted here: some 6 s of work."""
MOST_SEARCHED: Final = 50
"""Searches of the control plane, each through 100,000 runs, that find too little for a page."""
_LONG_AGO: Final = 0
_NEVER: Final = 1 << 62

_OLDEST_FIRST: Final = {"EXPECTED_START_TIME_ASC"}
_KEYS: Final[dict[str, tuple[Callable[["Run"], Any], bool]]] = {
    "START_TIME_ASC": (lambda run: run.started_us or _NEVER, False),
    "START_TIME_DESC": (lambda run: run.started_us or _LONG_AGO, True),
    "END_TIME_DESC": (lambda run: run.ended_us or _LONG_AGO, True),
    "NAME_ASC": (lambda run: run.name, False),
    "NAME_DESC": (lambda run: run.name, True),
    "NEXT_SCHEDULED_START_TIME_ASC": (lambda run: run.due_us or _NEVER, False),
}
"""Orders in which the control plane does not list: by what, and whether the largest comes first. Runs without
such a time come last."""


class Search:
    """Lists runs for one answer."""

    def __init__(self, calls: "Client", *, tracking: bool = False) -> None:
        """Ask a control plane.

        Args:
            calls: How to ask it.
            tracking: Whether task runs are meant: of flow runs only subflows, as their tracking runs.
        """
        self._calls = calls
        self._tracking = tracking
        self._read = 0
        self._searched = 0

    def listed(
        self,
        asked: "Sequence[RunFilter]",
        test: RunTest | None,
        sort: str,
        limit: int | None,
        offset: int,
    ) -> "list[Run]":
        """Return the runs that fit, in order.

        Args:
            asked: Which runs to ask for: those of the first, then those of the second, and so on; none twice.
            test: Whether a run fits; None when all do that are asked for.
            sort: One of the orders.
            limit: The most that are returned; None for 200.
            offset: How many of the first are left out.

        Raises:
            SearchTooWide: Too many would have to be read.
            ValueError: `limit` or `offset` is negative.
        """
        first, end = bounds(limit, offset)
        if sort in _KEYS:
            key, reverse = _KEYS[sort]
            found = sorted(self.all(asked, test), key=key, reverse=reverse)
            return found[first:end]
        oldest_first = sort in _OLDEST_FIRST
        page = min(end, RUN_PAGE) if test is None else RUN_PAGE
        each = [self._one(wanted, test, oldest_first, page) for wanted in asked]
        merged = heapq.merge(*each, key=lambda run: run.submitted_us, reverse=not oldest_first)
        return list(islice(merged if len(each) != 1 else each[0], first, end))

    def all(self, asked: "Sequence[RunFilter]", test: RunTest | None) -> "Iterator[Run]":
        """Yield all runs that fit, newest first within each of `asked`."""
        for wanted in asked:
            yield from self._one(wanted, test, False, RUN_PAGE)

    def _one(
        self, wanted: "RunFilter", test: RunTest | None, oldest_first: bool, page: int
    ) -> "Iterator[Run]":
        for told in self._calls.run_pages(wanted, page, oldest_first=oldest_first):
            runs: Iterable[Run] = told.runs
            if self._tracking and int(wanted.kind) == RunKind.FLOW:
                runs = map(as_tracking_run, filter(is_subflow, runs))
            yield from runs if test is None else filter(test, runs)
            self._count(len(told.runs), bool(told.searched_to_us), bool(told.next_page_token))

    def _count(self, read: int, searched: bool, more: bool) -> None:
        self._read += read
        self._searched += searched
        if more and (self._read > MOST_READ or self._searched > MOST_SEARCHED):
            raise SearchTooWide(
                f"too many runs to look through: {self._read:,} were read, and it is not known which of the "
                "others fit; say when they were submitted (expected_start_time), name their flow run or "
                "their state types, or sort by EXPECTED_START_TIME_DESC with a limit"
            )


def bounds(limit: int | None, offset: int) -> tuple[int, int]:
    """Return the place of the first that is wanted, and that after the last.

    Raises:
        ValueError: `limit` or `offset` is negative.
    """
    most = DEFAULT_LIMIT if limit is None else limit
    if most < 0 or offset < 0:
        raise ValueError(f"limit and offset must not be negative, got {limit} and {offset}")
    return offset, offset + most
