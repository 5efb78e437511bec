"""What changed lately, for those who follow runs from outside.

Theory of operation. While somebody watches, each commit leaves an entry: which runs it was about, by the
flow run they are in. So do the moments in which runs are assigned or begin, which no commit tells. Entries
are numbered, and kept in a ring: whoever comes back with a number gets what came after it. A watcher takes
the ids of runs out of each entry as it comes, each once however often it changes before it is told; what is
told of a run is read when it is told. So neither a slow watcher nor a run that changes quickly costs more
than its id.

Nobody who does not watch pays: what happens for every commit looks at `watched` and goes on. Some time after
the last watcher left, the ring goes, and with it all numbers that were given out before.

Invariants: a watcher's `position` never passes a change it was not given; after `lost` it is given nothing.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Final, NamedTuple

from taskyard_contract.errors import WatchExpired
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.journal.commit import Commit
from taskyard_controlplane.owner.journal.run_book import RunBook
from taskyard_controlplane.owner.timers import Timer, Timers
from taskyard_controlplane.storage.interface import NewRunRow

MOST_KEPT: Final = 100_000
"""Changes in the ring: some 6 MB; seconds of the busiest hour, and hours of a quiet one."""
MOST_PENDING: Final = 100_000
"""Runs that one watcher is still to be told of: some 10 MB. It is the size of a large map."""
MOST_PENDING_IN_ALL: Final = 400_000
"""The same of all watchers together: some 40 MB."""
LINGER_SECONDS: Final = 60.0
"""How long the ring is kept for watchers that lost their connection: longer than a lease."""

_RUN_ID: Final = NewRunRow._fields.index("run_id")
_FLOW_SEQ: Final = NewRunRow._fields.index("flow_seq")
NO_FLOW: Final = 0
"""Instead of the number of a flow run: of runs outside of all of them."""


class Entry(NamedTuple):
    """What changed at once."""

    position: int
    groups: dict[int, list[bytes]]
    """Ids of runs, by the number of the flow run they are in."""

    @property
    def changes(self) -> int:
        """How many runs it is about."""
        return sum(map(len, self.groups.values()))


class Interest(NamedTuple):
    """Which changes a watcher is given; it looks itself whether the runs fit what it was asked for."""

    run_ids: frozenset[bytes] | None = None
    flow_seq: int | None = None

    def among(self, entry: Entry) -> Iterable[bytes]:
        """Return the runs of an entry that may be meant."""
        if self.run_ids is not None:
            wanted = self.run_ids
            return [each for group in entry.groups.values() for each in group if each in wanted]
        if self.flow_seq is not None:
            return entry.groups.get(self.flow_seq, ())
        return [each for group in entry.groups.values() for each in group]


EVERYTHING: Final = Interest()


class Watch:
    """One watcher: the runs it is still to be told of, in the order in which they changed last."""

    def __init__(self, interest: Interest, position: int, wake: Callable[[], None]) -> None:
        """Begin behind `position`; `wake` is called when there is something to tell, or the watch is lost."""
        self.interest = interest
        self.position = position
        """Everything up to here was taken, or was not meant."""
        self.lost = ""
        """Why nothing more comes, for people."""
        self.pending: dict[bytes, None] = {}
        self._seen = position
        self._wake = wake

    def note(self, entry: Entry) -> None:
        """Take what is meant out of an entry."""
        pending = self.pending
        before = len(pending)
        for run_id in self.interest.among(entry):
            if run_id in pending:
                del pending[run_id]  # to the end: what changed last is told last
            pending[run_id] = None
        self.skip(entry)
        if pending and not before:
            self._wake()

    def skip(self, entry: Entry) -> None:
        """Pass over an entry in which there is nothing that is meant."""
        self._seen = entry.position
        if not self.pending:
            self.position = entry.position

    def take(self, most: int) -> list[bytes]:
        """Return the next runs to tell of; when they are all, `position` is that of the last change."""
        taken = list(islice(self.pending, most))
        for run_id in taken:
            del self.pending[run_id]
        if not self.pending:
            self.position = self._seen
        return taken

    def lose(self, why: str) -> None:
        """Give up: the watcher has to list again."""
        self.lost = self.lost or why
        self.pending.clear()
        self._wake()


class Changes:
    """The changes of a shard's runs, and who watches them."""

    def __init__(self, book: RunBook, timers: Timers) -> None:
        """Note changes of runs, of which `book` knows the flow runs; forget them by `timers`."""
        self.watched = False
        """Whether anything is to be noted. To be looked at before the verbs below are called."""
        self.position = 1
        """Of the last change, or of what was as good as one."""
        self._book = book
        self._timers = timers
        self._ring: deque[Entry] = deque()
        self._kept = 0
        self._gone_up_to = 1
        """Changes up to here are not in the ring any more."""
        self._watches: dict[Watch, None] = {}
        self._named: Counter[bytes] = Counter()
        """How many watchers name a run: many wait for one each, and must not all look at all changes."""
        self._forgetting: Timer | None = None

    def __len__(self) -> int:
        """Return how many watchers there are."""
        return len(self._watches)

    def watch(self, interest: Interest, after: int | None, wake: Callable[[], None]) -> Watch:
        """Begin to watch: from now on, or what came after a position too.

        Raises:
            WatchExpired: That is not known any more.
        """
        if after is not None and not self._gone_up_to <= after <= self.position:
            raise WatchExpired("the resume token is too old; watch again without one")
        self.watched = True
        if self._forgetting is not None:
            self._forgetting.cancel()
            self._forgetting = None
        watch = Watch(interest, self.position if after is None else after, wake)
        self._watches[watch] = None
        self._named.update(interest.run_ids or ())
        if after is not None:
            for entry in self._ring:
                if entry.position > after:
                    watch.note(entry)
        return watch

    def leave(self, watch: Watch) -> None:
        """Give a watcher nothing more."""
        if self._watches.pop(watch, self) is not None:
            return
        for run_id in watch.interest.run_ids or ():
            self._named[run_id] -= 1
            if not self._named[run_id]:
                del self._named[run_id]
        if not self._watches:
            self._forgetting = self._timers.after(LINGER_SECONDS, self._forget, name="changes of runs")

    def _forget(self) -> None:
        """Keep nothing any more: nobody comes back."""
        self.watched, self._forgetting = False, None
        self._ring.clear()
        self._kept = 0
        self.position += 1  # what happens from here on is not noted: no number of before is good any more
        self._gone_up_to = self.position

    # What is noted. Only while `watched`.

    def committed(self, commit: Commit) -> None:
        """Note the runs that a commit, which is durable now, was about."""
        groups: dict[int, list[bytes]] = {}
        for row in commit.rows.new_runs:
            flow_seq: Any = row[_FLOW_SEQ]
            run_id: Any = row[_RUN_ID]
            groups.setdefault(flow_seq or NO_FLOW, []).append(run_id)
        self._group((run for run, _ in commit.effects), groups)
        self._note(groups)

    def noticed(self, runs: Iterable[Run]) -> None:
        """Note that runs were assigned, or have begun."""
        groups: dict[int, list[bytes]] = {}
        self._group(runs, groups)
        self._note(groups)

    def _group(self, runs: Iterable[Run], groups: dict[int, list[bytes]]) -> None:
        flow: Run | None = None
        group: list[bytes] | None = None
        for run in runs:
            if group is None or run.flow is not flow or flow is None:
                flow = run.flow
                seq = self._book.flow_seq_of(run) or NO_FLOW
                group = groups.get(seq)
                if group is None:
                    group = groups[seq] = []
            group.append(run.run_id)

    def _note(self, groups: dict[int, list[bytes]]) -> None:
        if not groups:
            return
        self.position += 1
        entry = Entry(self.position, groups)
        self._ring.append(entry)
        self._kept += entry.changes
        while self._kept > MOST_KEPT and len(self._ring) > 1:
            gone = self._ring.popleft()
            self._kept -= gone.changes
            self._gone_up_to = gone.position
        named = self._names_some(entry)
        for watch in self._watches:
            if watch.interest.run_ids is not None and not named:
                watch.skip(entry)
            elif not watch.lost:
                watch.note(entry)
        self._bound()

    def _names_some(self, entry: Entry) -> bool:
        """Whether an entry is about a run that some watcher names."""
        named = self._named.keys()
        return bool(named) and not all(map(named.isdisjoint, entry.groups.values()))

    def _bound(self) -> None:
        """Give up the watchers that are too slow, the slowest first."""
        left = 0
        for watch in self._watches:
            if len(watch.pending) > MOST_PENDING:
                watch.lose(
                    f"the watcher is more than {MOST_PENDING} runs behind; watch again without a token"
                )
            left += len(watch.pending)
        while left > MOST_PENDING_IN_ALL:
            slowest = max(self._watches, key=lambda watch: len(watch.pending))
            left -= len(slowest.pending)
            slowest.lose("all watchers together are too far behind; watch again without a token")
