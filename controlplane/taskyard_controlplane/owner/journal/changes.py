"""What changed lately, for those who follow runs from outside.

Theory of operation. While somebody watches, each commit leaves an entry: which runs it was about, by the
flow run they are in and the state they have ended in. So do the moments in which runs are assigned or begin,
which no commit tells. Entries are numbered, and kept in a ring: whoever comes back with a number gets what
came after it. A watcher takes the ids of runs out of each entry as it comes, each once however often it
changes before it is told; what is told of a run is read when it is told. So neither a slow watcher nor a run
that changes quickly costs more than its id, and who asks for runs that failed is not given the others.

Nobody who does not watch pays: what happens for every commit looks at `watched` and goes on. Some time after
the last watcher left, the ring goes, and with it all numbers that were given out before.

Invariants: a watcher's `position` never passes the last change of a run that it is still to be given, and
never goes back; after `lost` it is given nothing.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from itertools import chain, islice
from typing import Any, Final, NamedTuple

from taskyard_contract.errors import WatchExpired
from taskyard_contract.states import FIRST_FINAL
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.journal.commit import Commit
from taskyard_controlplane.owner.journal.run_book import RunBook
from taskyard_controlplane.owner.timers import Timer, Timers
from taskyard_controlplane.storage.interface import NewRunRow

MOST_KEPT: Final = 300_000
"""Changes in the ring: some 10 MB, for a run changes three times; seconds of the busiest hour, and hours of a
quiet one. Whoever is behind by less than `MOST_PENDING` can so come back to where it was."""
MOST_PENDING: Final = 100_000
"""Runs that one watcher is still to be told of: some 10 MB. It is the size of a large map."""
MOST_PENDING_IN_ALL: Final = 400_000
"""The same of all watchers together: some 40 MB."""
LINGER_SECONDS: Final = 60.0
"""How long the ring is kept for watchers that lost their connection: longer than a lease."""

_RUN_ID: Final = NewRunRow._fields.index("run_id")
_FLOW_SEQ: Final = NewRunRow._fields.index("flow_seq")
_STATE: Final = NewRunRow._fields.index("state")
NO_FLOW: Final = 0
"""Instead of the number of a flow run: of runs outside of all of them."""
OPEN: Final = 0
"""Instead of a final state: of runs in all others."""
_MARKS: Final = 4
"""So often, while all changes in the ring are replaced by others, watchers are to be given a new position."""

Groups = dict[int, dict[int, list[bytes]]]
"""Ids of runs: by the number of the flow run they are in, and then by the state they ended in."""


class Entry(NamedTuple):
    """What changed at once."""

    position: int
    groups: Groups

    @property
    def changes(self) -> int:
        """How many runs it is about."""
        return sum(len(ids) for group in self.groups.values() for ids in group.values())


class Interest(NamedTuple):
    """Which changes a watcher is given; it looks itself whether the runs fit what it was asked for."""

    run_ids: frozenset[bytes] | None = None
    flow_seq: int | None = None
    ends: frozenset[int] | None = None
    """Only of runs that have ended so."""

    def among(self, entry: Entry) -> Iterable[bytes]:
        """Return the runs of an entry that may be meant."""
        groups = entry.groups
        flows = groups.values() if self.flow_seq is None else [groups.get(self.flow_seq, {})]
        ends, wanted = self.ends, self.run_ids
        lists = [ids for flow in flows for end, ids in flow.items() if ends is None or end in ends]
        if wanted is None:
            return chain.from_iterable(lists)
        return [each for ids in lists for each in ids if each in wanted]


EVERYTHING: Final = Interest()


class Watch:
    """One watcher: the runs it is still to be told of, in the order in which they changed last."""

    def __init__(self, interest: Interest, position: int, wake: Callable[[], None]) -> None:
        """Begin behind `position`; `wake` is called when there is something to tell, or the watch is lost."""
        self.interest = interest
        self.position = position
        """Whoever begins behind it is given all that is pending, and all that comes."""
        self.lost = ""
        """Why nothing more comes, for people."""
        self.is_due = False
        """Whether the watcher should be given a new position, because the last one will soon be too old."""
        self.pending: dict[bytes, int] = {}
        """Runs, with where they changed last."""
        self._seen = position
        self._marked = position
        self._wake = wake

    def note(self, entry: Entry) -> None:
        """Take what is meant out of an entry."""
        pending, position = self.pending, entry.position
        before = len(pending)
        for run_id in self.interest.among(entry):
            pending.pop(run_id, 0)  # to the end: what changed last is told last
            pending[run_id] = position
        self.skip(entry)
        if pending and not before:
            self._wake()

    def skip(self, entry: Entry) -> None:
        """Pass over an entry in which there is nothing that is meant."""
        self._seen = entry.position
        if not self.pending:
            self.position = entry.position

    def take(self, most: int) -> list[bytes]:
        """Return the next runs to tell of; `position` is that before the last changes of those left."""
        taken = list(islice(self.pending, most))
        for run_id in taken:
            del self.pending[run_id]
        self.position = next(iter(self.pending.values()), self._seen + 1) - 1
        return taken

    def marked(self, position: int) -> None:
        """Know where the watcher would go on if it came back now."""
        self._marked, self.is_due = position, False

    def remind(self, position: int) -> None:
        """Let the watcher be told of its position, if the last one it was told lies before another."""
        if self._marked < position and not self.is_due:
            self.is_due = True
            self._wake()

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
        self.noted = 0
        """How many runs changed so far, each as often as it did."""
        self._book = book
        self._timers = timers
        self._ring: deque[Entry] = deque()
        self._kept = 0
        self._gone_up_to = 1
        """Changes up to here are not in the ring any more."""
        self._mark = 1
        """Where watchers were last reminded of their positions."""
        self._unmarked = 0
        """How many changes came since."""
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
        groups: Groups = {}
        flow_seq: Any = None
        state: Any = None
        ids: list[Any] = []
        for row in commit.rows.new_runs:
            if row[_STATE] != state or row[_FLOW_SEQ] != flow_seq:
                flow_seq, state = row[_FLOW_SEQ], row[_STATE]
                ids = _ids_of(groups, flow_seq or NO_FLOW, state)
            ids.append(row[_RUN_ID])
        self._group((run for run, _ in commit.effects), groups)
        self._note(groups)

    def noticed(self, runs: Iterable[Run]) -> None:
        """Note that runs were assigned, or have begun."""
        groups: Groups = {}
        self._group(runs, groups)
        self._note(groups)

    def _group(self, runs: Iterable[Run], groups: Groups) -> None:
        flow: Run | None = None
        state = OPEN
        ids: list[bytes] | None = None
        for run in runs:
            if ids is None or run.state != state or run.flow is not flow or flow is None:
                # What ends by a later commit counts as ended here, too, and once more then.
                flow, state = run.flow, run.state
                ids = _ids_of(groups, self._book.flow_seq_of(run) or NO_FLOW, state)
            ids.append(run.run_id)

    def _note(self, groups: Groups) -> None:
        if not groups:
            return
        self.position += 1
        entry = Entry(self.position, groups)
        changes = entry.changes
        self._ring.append(entry)
        self._kept += changes
        self.noted += changes
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
        self._unmarked += changes
        if self._unmarked > MOST_KEPT // _MARKS:
            for watch in self._watches:
                watch.remind(self._mark)
            self._unmarked, self._mark = 0, self.position

    def _names_some(self, entry: Entry) -> bool:
        """Whether an entry is about a run that some watcher names."""
        named = self._named.keys()
        return bool(named) and any(
            not named.isdisjoint(ids) for group in entry.groups.values() for ids in group.values()
        )

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


def _ids_of(groups: Groups, flow_seq: int, state: Any) -> list[bytes]:
    group = groups.get(flow_seq)
    if group is None:
        group = groups[flow_seq] = {}
    return group.setdefault(state if state >= FIRST_FINAL else OPEN, [])
