"""Runs for people and programs: one, a page of them, the states one has been in, its log.

The database keeps an open run as it was inserted: READY, ASSIGNED and RUNNING are never written. So what it
says of an open run is completed by `live`, a function that a process with an owner passes in. Without one
an open run is shown in the state it was submitted in, or that of its last recorded exception.

For the same reason a filter by open states cannot be left to the database. It gets all open runs from there
and picks them here, until a page is full.

No page is looked for for ever. The database looks at so many runs and no more, and what it finds is picked
from for so many pages; then an unfinished page is returned, that says how far it came and where to go on.

Reads block, so they go to a few threads of their own; `live` is called on the event loop, where the owner is.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_contract.errors import RunNotFound
from taskyard_contract.ids import format_id
from taskyard_contract.states import FIRST_FINAL, RunState
from taskyard_controlplane.domain.live_state import LiveState
from taskyard_controlplane.reading.background import Background
from taskyard_controlplane.reading.history import HistoryEntry, history_of
from taskyard_controlplane.reading.messages import outcome_of, run_message
from taskyard_controlplane.reading.pages import PAGE_BYTES, Room
from taskyard_controlplane.storage.interface import (
    MOST_LOOKED_AT,
    EventRow,
    ListedRun,
    Reader,
    RunFilter,
    StoredLog,
)

MAX_SCANNED_PAGES: Final = 10
"""How much of the database one call may read for one page: a filter may fit nothing for a long way."""
MOST_AT_ONCE: Final = 100
"""Rows read in one go, each with what the run ended with: most pages are full by then."""
OPEN_STATES: Final = tuple(state for state in RunState if state < FIRST_FINAL)

Live = Callable[[bytes], LiveState | None]


def nobody_knows(run_id: bytes) -> LiveState | None:
    """Stand for the owner in a process that has none."""
    return None


class Page(NamedTuple):
    """As many runs as one answer holds, newest first."""

    runs: list[pb.Run]
    next_position: int | None
    """Where the next page begins, None at the end."""
    searched_to_us: int = 0
    """Where an unfinished page gave up: when the oldest run that was looked at was submitted."""


class RunReader:
    """Reads runs as the messages that clients get."""

    def __init__(self, reader: Reader, background: Background, live: Live = nobody_knows) -> None:
        """Read from a database.

        Args:
            reader: The database.
            background: Where reads block.
            live: What an owner knows about an open run.
        """
        self._reader = reader
        self._background = background
        self._live = live

    async def run(self, run_id: bytes, *, include_result: bool, full: bool = False) -> pb.Run:
        """Return one run, with everything that only it itself is asked for when that is wanted.

        Raises:
            RunNotFound: There is no such run.
        """
        listed = await self._find(run_id)
        last_event = await self._last_event(listed)
        live = self._live_state(listed)
        return run_message(listed, live, last_event, include_result=include_result, full=full)

    async def page(self, wanted: pb.RunFilter, before: int | None, limit: int) -> Page:
        """Return runs that fit a filter.

        Args:
            wanted: Which.
            before: Where the page begins, None for the newest.
            limit: Most runs to return; fewer do not mean that there are no more: pages are cut by bytes.
        """
        recorded = await self._recorded_filter(wanted)
        if recorded is None:
            return Page([], None)
        states = frozenset(wanted.states)
        runs: list[pb.Run] = []
        room, picked, left = Room(), 0, MOST_LOOKED_AT
        count = min(limit, MOST_AT_ONCE)
        while True:
            found = await self._background(self._reader.runs, recorded, before, count, left)
            for entry in found.runs:
                message = run_message(entry, self._live_state(entry), brief=True)
                if not states or message.state in states:
                    runs.append(message)
                    if not room.take(message.ByteSize()) or len(runs) == limit:
                        return Page(runs, entry.run.seq)
            before = found.next_seq
            picked, left = picked + count, left - found.looked_at
            if before is None or picked >= MAX_SCANNED_PAGES * limit or left <= 0:
                return Page(runs, before, found.reached_us)

    async def history(self, run_id: bytes) -> list[HistoryEntry]:
        """Return every state a run has been in, oldest first.

        Raises:
            RunNotFound: There is no such run.
        """
        listed = await self._find(run_id)
        events = await self._background(self._reader.events, listed.run.seq)
        outcome = outcome_of(listed.run)
        return history_of(listed.run, events, self._live_state(listed), outcome.state_name, outcome.message)

    async def logs(self, run_id: bytes, after: int, limit: int) -> list[StoredLog]:
        """Return log records of a run and of the runs inside it, beyond a position: as many as a page holds.

        Raises:
            RunNotFound: There is no such run.
        """
        listed = await self._find(run_id)
        return await self._background(self._reader.logs, listed.run.seq, after, limit, PAGE_BYTES)

    async def _find(self, run_id: bytes) -> ListedRun:
        listed = await self._background(self._reader.run, run_id)
        if listed is None:
            raise RunNotFound(f"there is no run {format_id(run_id)}", run_id=run_id)
        return listed

    async def _last_event(self, listed: ListedRun) -> EventRow | None:
        if listed.run.state >= FIRST_FINAL:
            return None
        events = await self._background(self._reader.events, listed.run.seq)
        return events[-1] if events else None

    def _live_state(self, listed: ListedRun) -> LiveState | None:
        if listed.run.state >= FIRST_FINAL:
            return None  # the end in the database is final, whatever an owner has still in memory
        return self._live(listed.run.run_id)

    async def _recorded_filter(self, wanted: pb.RunFilter) -> RunFilter | None:
        """Translate a filter into what the database has recorded; None when nothing can fit."""
        flow_seq = None
        if wanted.flow_run_id:
            flow = await self._background(self._reader.run, wanted.flow_run_id)
            if flow is None:
                return None
            flow_seq = flow.run.seq
        states: tuple[int, ...] = tuple(state for state in wanted.states if state >= FIRST_FINAL)
        if len(states) < len(wanted.states):
            states += OPEN_STATES
        return RunFilter(wanted.kind, flow_seq, states, wanted.name_contains)
