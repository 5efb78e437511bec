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

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_contract.errors import RunNotFound
from taskyard_contract.ids import format_id
from taskyard_contract.states import FIRST_FINAL, RunKind, RunState
from taskyard_controlplane.domain.live_state import LiveState
from taskyard_controlplane.reading.background import Background
from taskyard_controlplane.reading.filters import Pick, recorded_filter
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
WHOLE_AT_ONCE: Final = 16
"""The same with arguments and results: each run has up to 64 KiB of either."""

Live = Callable[[bytes], LiveState | None]
Held = Callable[[str], Sequence[bytes]]


def nobody_knows(run_id: bytes) -> LiveState | None:
    """Stand for the owner in a process that has none."""
    return None


def nobody_holds(agent_name: str) -> Sequence[bytes]:
    """Stand for the owner in the same way: it knows which runs the agents of a name hold."""
    return ()


class Page(NamedTuple):
    """As many runs as one answer holds."""

    runs: list[pb.Run]
    next_position: int | None
    """Where the next page begins, None at the end."""
    searched_to_us: int = 0
    """Where an unfinished page gave up: when the last run that was looked at was submitted."""


class LogHead(NamedTuple):
    """What is known of a run's log before it is read."""

    run_seq: int
    removed_before_us: int
    """What was logged before this was removed by retention; 0 when nothing was."""


class RunReader:
    """Reads runs as the messages that clients get."""

    def __init__(
        self,
        reader: Reader,
        background: Background,
        live: Live = nobody_knows,
        held: Held = nobody_holds,
    ) -> None:
        """Read from a database.

        Args:
            reader: The database.
            background: Where reads block.
            live: What an owner knows about an open run.
            held: Which runs an owner has assigned to agents of a name.
        """
        self._reader = reader
        self._background = background
        self._live = live
        self._held = held

    async def run(self, run_id: bytes, *, include_result: bool, full: bool = False) -> pb.Run:
        """Return one run, with everything that only it itself is asked for when that is wanted.

        Raises:
            RunNotFound: There is no such run.
        """
        listed = await self._find(run_id)
        last_event = await self._last_event(listed)
        live = self._live_state(listed)
        return run_message(listed, live, last_event, include_result=include_result, full=full)

    async def page(
        self,
        wanted: pb.RunFilter,
        beyond: int | None,
        limit: int,
        *,
        oldest_first: bool = False,
        full: bool = False,
        include_result: bool = False,
    ) -> Page:
        """Return runs that fit a filter.

        Args:
            wanted: Which.
            beyond: Where the page begins, None to begin with the newest, or the oldest.
            limit: Most runs to return; fewer do not mean that there are no more: pages are cut by bytes.
            oldest_first: In which order.
            full: With their arguments and templates.
            include_result: With the results of those that have ended.
        """
        recorded = await self.recorded(wanted)
        if recorded is None:
            return Page([], None)
        pick, whole = Pick.of(wanted), full or include_result
        runs: list[pb.Run] = []
        room, picked, left = Room(), 0, MOST_LOOKED_AT
        count = min(limit, WHOLE_AT_ONCE if whole else MOST_AT_ONCE)
        while True:
            found = await self._background(
                self._reader.runs, recorded, beyond, count, left, oldest_first=oldest_first, whole=whole
            )
            told = self._messages(found.runs, await self._last_events(found.runs), full, include_result)
            for entry, message in zip(found.runs, told, strict=True):
                if pick.fits(message):
                    runs.append(message)
                    if not room.take(message.ByteSize()) or len(runs) == limit:
                        return Page(runs, entry.run.seq)
            beyond = found.next_seq
            picked, left = picked + count, left - found.looked_at
            if beyond is None or picked >= MAX_SCANNED_PAGES * limit or left <= 0:
                return Page(runs, beyond, found.reached_us)

    async def changed(
        self, recorded: RunFilter, run_ids: Sequence[bytes], *, include_result: bool
    ) -> list[pb.Run]:
        """Return those of some runs that fit what the database has recorded of a filter, in their order.

        States are looked at only if all that are asked for are final: a run may have been told to be in
        another one.
        """
        final = recorded.states if recorded.states and min(recorded.states) >= FIRST_FINAL else ()
        among = recorded._replace(run_ids=tuple(run_ids), states=final)
        found = await self._background(
            self._reader.runs, among, None, len(run_ids), MOST_LOOKED_AT, whole=include_result
        )
        events = await self._last_events(found.runs)
        told = {run.run_id: run for run in self._messages(found.runs, events, False, include_result)}
        return [told[run_id] for run_id in run_ids if run_id in told]

    def _messages(
        self,
        entries: Iterable[ListedRun],
        events: dict[int, EventRow],
        full: bool,
        include_result: bool,
    ) -> list[pb.Run]:
        return [
            run_message(
                entry,
                self._live_state(entry),
                events.get(entry.run.seq),
                include_result=include_result,
                brief=True,
                full=full,
            )
            for entry in entries
        ]

    async def _last_events(self, entries: Iterable[ListedRun]) -> dict[int, EventRow]:
        """Return what explains the states of those that wait for their next attempt, and says until when."""
        waiting = [one.run.seq for one in entries if _waits(self._live_state(one))]
        return await self._background(self._reader.last_events, waiting) if waiting else {}

    async def rows(self, run_ids: Sequence[bytes]) -> list[ListedRun]:
        """Return what is recorded of those of some runs that there are, without arguments and results."""
        among = RunFilter(run_ids=tuple(run_ids))
        return (await self._background(self._reader.runs, among, None, len(run_ids), MOST_LOOKED_AT)).runs

    async def history(self, run_id: bytes) -> list[HistoryEntry]:
        """Return every state a run has been in, oldest first.

        Raises:
            RunNotFound: There is no such run.
        """
        listed = await self._find(run_id)
        events = await self._background(self._reader.events, listed.run.seq)
        outcome = outcome_of(listed.run)
        return history_of(listed.run, events, self._live_state(listed), outcome.state_name, outcome.message)

    async def log_of(self, run_id: bytes) -> LogHead:
        """Return what the log of a run goes by, and how much of it is gone.

        Raises:
            RunNotFound: There is no such run.
        """
        run = (await self._find(run_id)).run
        before_us = await self._background(self._reader.logs_removed_before_us)
        return LogHead(run.seq, before_us if run.submitted_us < before_us else 0)

    async def logs(self, run_seq: int, after: int, limit: int, up_to: int) -> list[StoredLog]:
        """Return log records of a run and of the runs inside it, beyond a position and up to another one: as
        many as a page holds.
        """
        return await self._background(self._reader.logs, run_seq, after, limit, PAGE_BYTES, up_to)

    async def is_over(self, run_id: bytes) -> bool:
        """Whether a run has ended, and with it all runs that are directly inside it.

        Raises:
            RunNotFound: There is no such run.
        """
        run = (await self._find(run_id)).run
        if run.state < FIRST_FINAL or run.kind != RunKind.FLOW:
            return run.state >= FIRST_FINAL
        inside, beyond = RunFilter(flow_seq=run.seq), None
        while True:
            found = await self._background(self._reader.open_runs, inside, beyond, 1)
            beyond = found.next_seq
            if found.runs or beyond is None:
                return not found.runs

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

    async def recorded(self, wanted: pb.RunFilter) -> RunFilter | None:
        """Translate a filter into what the database has recorded; None when nothing can fit."""
        if wanted.task_name or wanted.task_key or wanted.queue or wanted.tags:
            while not await self._background(self._reader.learn_templates):
                pass  # others may read in between
        flow_seq = None
        if wanted.flow_run_id:
            flow = await self._background(self._reader.run, wanted.flow_run_id)
            if flow is None:
                return None
            flow_seq = flow.run.seq
        held: Iterable[bytes] | None = None
        if wanted.agent_name:
            held = self._held(wanted.agent_name)
            if wanted.run_ids:
                held = set(held).intersection(wanted.run_ids)
        return recorded_filter(wanted, flow_seq, held)


def _waits(live: LiveState | None) -> bool:
    return live is not None and live.state == RunState.AWAITING_RETRY
