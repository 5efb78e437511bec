"""Ends the runs of a session, or inside a flow run, that are only in the database: some at a time.

There may be a million of them. So a part is read and ended, and the next one when these ends are durable:
others have their turn in between, and memory holds no more than a part. Meanwhile the backlog goes on, and
what it brings into memory of the same runs is ended there (`end_if_due`) before it can start.
"""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from taskyard_contract.errors import StorageUnavailable
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.journal.committer import Committer
from taskyard_controlplane.owner.journal.journal import Journal
from taskyard_controlplane.owner.journal.run_book import RunBook
from taskyard_controlplane.owner.journal.stored_runs import REPEAT_SECONDS, StoredRuns
from taskyard_controlplane.owner.journal.templates import FoundRuns, Templates
from taskyard_controlplane.owner.peers.client_session import ClientSession
from taskyard_controlplane.owner.timers import Timers
from taskyard_controlplane.storage.interface import BacklogPart, RunHead, Store

PART: Final = 1_024
"""Of a flow run, or of the whole backlog when the runs of a session are looked for: some 15 ms of work."""
ALL: Final = (1 << 63) - 1

End = Callable[[Iterable[Run]], None]


class Ending(NamedTuple):
    """What is being ended."""

    part: Callable[[int], BacklogPart]
    """Reads the next ones after a seq."""
    up_to_seq: int
    """Later ones are no matter of it: their session came back and submitted them."""
    end: End
    over: Callable[[], object]


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

    def of_session(self, session: ClientSession, up_to_seq: int, end: End, over: Callable[[], None]) -> None:
        """Do `end` with the queued runs of a session up to a seq, and `over` when there are no more."""
        session_id = session.session_id

        def part(after: int) -> BacklogPart:
            return self._store.backlog_of_session(session_id, after, PART)

        self._begin(session, Ending(part, up_to_seq, end, over))

    def inside(self, flow: Run, end: End) -> None:
        """Do `end` with the queued runs inside a flow run."""
        seq = flow.seq

        def part(after: int) -> BacklogPart:
            return self._store.backlog_of_flow(seq, after, PART)

        self._book.ending_flows[seq] = flow
        self._begin(flow, Ending(part, ALL, end, lambda: self._book.ending_flows.pop(seq, None)))

    def end_if_due(self, run: Run) -> None:
        """End a run that came into memory while all that it belongs to is being ended."""
        for owner in (run.session, run.flow):
            ending = self._under_way.get(owner) if owner is not None else None
            if ending is not None and run.seq <= ending.up_to_seq:
                ending.end([run])

    def _begin(self, owner: ClientSession | Run, ending: Ending) -> None:
        if owner in self._under_way:
            return  # a flow run that was cancelled, and has ended by now
        self._under_way[owner] = ending
        if self._journal.has_backlogged:
            # Behind the commit that is open: what is only a row is nowhere else.
            self._journal.then(lambda: self._read(owner, -1))
        else:
            self._read(owner, -1)

    def _read(self, owner: ClientSession | Run, after: int) -> None:
        ending = self._under_way[owner]
        read: list[BacklogPart] = []

        def rows() -> list[RunHead]:
            read.append(ending.part(after))
            return read[0].rows

        future = self._committer.run(self._templates.beside(rows))

        def done(_: object) -> None:
            if future.cancelled():
                return
            if future.exception() is None:
                self._came(owner, ending, self._templates.take(future.result()), read[0].last_seq)
            elif isinstance(future.exception(), StorageUnavailable):
                self._timers.after(REPEAT_SECONDS, lambda: self._read(owner, after), name="read again")

        future.add_done_callback(done)

    def _came(
        self, owner: ClientSession | Run, ending: Ending, found: FoundRuns, last_seq: int | None
    ) -> None:
        rows = FoundRuns(row for row in found if row.seq <= ending.up_to_seq)
        rows.templates = found.templates
        if rows:
            ending.end(self._stored.load(rows).values())
        if last_seq is None or last_seq >= ending.up_to_seq:
            del self._under_way[owner]
            ending.over()
        elif rows:
            self._journal.then(lambda: self._read(owner, last_seq))
        else:
            self._read(owner, last_seq)
