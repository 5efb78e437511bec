"""Ends the runs of a session, or inside a flow run: some at a time.

There may be a million of them, most of which are only in the database. So a part is ended, those in memory
first, and the next one when these ends are durable: others have their turn in between, and memory holds no
more than a part of what has to be read. Meanwhile the backlog goes on, and what it brings into memory of the
same runs is ended there (`end_if_due`) before it can start.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from taskyard_contract.errors import StorageUnavailable
from taskyard_contract.states import FIRST_FINAL
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.journal.committer import Committer
from taskyard_controlplane.owner.journal.journal import Journal
from taskyard_controlplane.owner.journal.run_book import RunBook
from taskyard_controlplane.owner.journal.stored_runs import REPEAT_SECONDS, StoredRuns
from taskyard_controlplane.owner.journal.templates import Beside, FoundRuns, Templates
from taskyard_controlplane.owner.peers.client_session import ClientSession
from taskyard_controlplane.owner.timers import Timers
from taskyard_controlplane.storage.interface import BacklogPage, Store

PART: Final = 1_024
"""Of a flow run, or of the whole backlog when the runs of a session are looked for: some 15 ms of work."""
ALL: Final = (1 << 63) - 1

End = Callable[[Iterable[Run]], None]
Over = Callable[[], object]


@dataclass(slots=True, eq=False)
class Ending:
    """What is being ended."""

    records: deque[Run]
    """Of it, those in memory; they come first."""
    page: Callable[[int, int], BacklogPage]
    """Reads the next ones after a seq, so many."""
    up_to_seq: int
    """Later ones are no matter of it: their session came back and submitted them."""
    end: End
    over: Over
    after: int | None
    """Where to go on reading; None at the end of the backlog, or when nothing is there."""


class QueuedEndings:
    """Ends runs of the backlog together with what they belong to."""

    def __init__(
        self,
        store: Store,
        committer: Committer,
        journal: Journal,
        book: RunBook,
        stored: StoredRuns,
        templates: Templates,
        timers: Timers,
    ) -> None:
        """Read from `store`, through `committer`; what is read becomes records as `stored` makes them."""
        self._store = store
        self._committer = committer
        self._journal = journal
        self._book = book
        self._stored = stored
        self._templates = templates
        self._timers = timers
        self._under_way: dict[object, Ending] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def __contains__(self, owner: ClientSession | Run) -> bool:
        """Whether what belongs to a session, or to a flow run, is being ended."""
        return owner in self._under_way

    def of_session(
        self, session: ClientSession, runs: Iterable[Run], up_to_seq: int | None, end: End, over: Over
    ) -> None:
        """Do `end` with runs of a session, and with those in the backlog up to a seq (None: there are none);
        and `over` when there are no more.
        """

        def page(after: int, limit: int) -> BacklogPage:
            return self._store.backlog_of_session(session.session_id, after, limit)

        after = None if up_to_seq is None else -1
        self._begin(session, Ending(deque(runs), page, up_to_seq or 0, end, over, after))

    def inside(self, flow: Run, runs: Iterable[Run], end: End, over: Over, *, queued: bool) -> None:
        """Do `end` with runs inside a flow run, and with those in the backlog, unless none is `queued`; and
        `over` when there are no more.
        """
        known = self._under_way.get(flow)
        if known is not None:  # it was cancelled, and has ended by now
            known.records.extend(runs)
            return
        seq = flow.seq

        def page(after: int, limit: int) -> BacklogPage:
            return self._store.backlog_of_flow(seq, after, limit)

        self._book.ending_flows[seq] = flow

        def all_over() -> None:
            self._book.ending_flows.pop(seq, None)
            over()

        self._begin(flow, Ending(deque(runs), page, ALL, end, all_over, -1 if queued else None))

    def end_if_due(self, run: Run) -> None:
        """End a run that came into memory while all that it belongs to is being ended."""
        for owner in (run.session, run.flow):
            ending = self._under_way.get(owner) if owner is not None else None
            if ending is not None and run.seq <= ending.up_to_seq:
                ending.end([run])

    def _begin(self, owner: ClientSession | Run, ending: Ending) -> None:
        self._under_way[owner] = ending
        if self._journal.has_backlogged and not ending.records and ending.after is not None:
            # Behind the commit that is open: what is only a row is nowhere else.
            self._journal.then(lambda: self._go_on(owner))
        else:
            self._go_on(owner)

    def _go_on(self, owner: ClientSession | Run) -> None:
        ending = self._under_way[owner]
        if not ending.records and ending.after is not None:
            self._read(owner, ending, ending.after)
            return
        records = ending.records
        part = [records.popleft() for _ in range(min(PART, len(records)))]
        ending.end([run for run in part if run.state < FIRST_FINAL])
        if records or ending.after is not None:
            self._journal.then(lambda: self._go_on(owner))
        else:
            del self._under_way[owner]
            ending.over()

    def _read(self, owner: ClientSession | Run, ending: Ending, after: int) -> None:
        def read() -> tuple[BacklogPage, Beside]:
            page = ending.page(after, PART)
            return page, self._templates.beside(page.rows)

        future = self._committer.run(read)

        def done(_: object) -> None:
            if future.cancelled():
                return
            if future.exception() is None:
                page, beside = future.result()
                self._came(owner, ending, page, self._templates.take(beside))
            elif isinstance(future.exception(), StorageUnavailable):
                self._timers.after(REPEAT_SECONDS, lambda: self._go_on(owner), name="read again")

        future.add_done_callback(done)

    def _came(self, owner: ClientSession | Run, ending: Ending, page: BacklogPage, found: FoundRuns) -> None:
        at_the_end = page.looked_at < PART or page.last_seq >= ending.up_to_seq
        ending.after = None if at_the_end else page.last_seq
        rows = found.only(lambda row: row.seq <= ending.up_to_seq)
        ending.end(self._stored.load(rows).values())
        if rows and not at_the_end:
            self._journal.then(lambda: self._go_on(owner))
        else:
            self._go_on(owner)
