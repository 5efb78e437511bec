"""Queued runs beyond the memory window.

Per queue and priority a window of ready runs is in memory; further submissions only leave rows, which are
read back in order when the window runs low. So memory and the cost of a dispatch do not grow with the queue.
"""

from collections.abc import Callable, Iterable
from typing import Final

from taskyard_controlplane.domain.model import Template
from taskyard_controlplane.owner.journal.committer import Committer
from taskyard_controlplane.owner.queueing.dispatcher import Dispatcher
from taskyard_controlplane.storage.interface import Store, StoredRun, WriteBatch

WINDOW: Final = 20_000

Key = tuple[str, int]


class Backlog:
    """Counts of what is only in the database, and the reading back of it."""

    def __init__(
        self,
        store: Store,
        committer: Committer,
        dispatcher: Dispatcher,
        load: Callable[[list[StoredRun]], None],
        window: int = WINDOW,
    ) -> None:
        """Spill beyond `window` runs; `load` makes records of rows that were read back."""
        self._store = store
        self._committer = committer
        self._dispatcher = dispatcher
        self._load = load
        self._window = window
        # Two pages fit into the window, so that one is ready while the next is read.
        self._low = self._page = max(1, window * 2 // 5)
        self._counts: dict[Key, int] = {}
        self._last_read: dict[Key, int] = {}
        self._reading: set[Key] = set()
        self._incoming: dict[Key, int] = {}
        self._from: dict[Key, int] = {}

    def count(self) -> int:
        """Return how many runs are only in the database."""
        return sum(self._counts.values())

    def low_seq(self) -> int | None:
        """Return a number that no seq in the backlog is below; None when the backlog is empty."""
        return min([self._from[key] for key, count in self._counts.items() if count], default=None)

    def recover(self, counts: list[tuple[str, int, int]], low_seq: int) -> None:
        """Take over what the database has; no open run has a lower seq than `low_seq`."""
        self._counts = {(queue, priority): count for queue, priority, count in counts}
        self._from = dict.fromkeys(self._counts, low_seq)

    def takes(self, template: Template, count: int) -> bool:
        """Whether so many new runs of a template should leave only rows."""
        key = (template.queue, template.priority)
        if self._counts.get(key):
            # Behind a backlog everything queues up, or later runs would overtake earlier ones.
            return True
        waiting = len(self._dispatcher.runs(*key)) + self._incoming.get(key, 0)
        if waiting + count > self._window:
            return True
        self._incoming[key] = self._incoming.get(key, 0) + count
        return False

    def arrived(self) -> None:
        """Note that everything `takes` let through has been committed and enqueued."""
        self._incoming.clear()

    def add(self, template: Template, seqs: Iterable[int], rows: WriteBatch) -> None:
        """Write the rows of new runs that stay in the database."""
        key = (template.queue, template.priority)
        added = [(template.queue, template.priority, seq) for seq in seqs]
        rows.backlog_added.extend(added)
        if not self._counts.get(key):
            self._from[key] = added[0][2]
        self._counts[key] = self._counts.get(key, 0) + len(added)

    def refused(self, added: list[tuple[str, int, int]]) -> None:
        """Take back rows that could not be written."""
        for queue, priority, _ in added:
            self._counts[queue, priority] -= 1

    def refill(self) -> None:
        """Read back where the window runs low. Cheap when there is nothing to do."""
        if not self._counts:
            return
        for key, count in list(self._counts.items()):
            if not count:
                del self._counts[key]
            elif key not in self._reading and len(self._dispatcher.runs(*key)) < self._low:
                self._read(key)

    def _read(self, key: Key) -> None:
        queue, priority = key
        self._reading.add(key)
        after, limit = self._last_read.get(key, -1), self._page
        future = self._committer.run(lambda: self._store.backlog_page(queue, priority, after, limit))

        def done(_: object) -> None:
            self._reading.discard(key)
            if future.cancelled() or future.exception() is not None:
                return  # the next refill tries again
            self._take(key, future.result())

        future.add_done_callback(done)

    def _take(self, key: Key, page: list[StoredRun]) -> None:
        rows = self._committer.open.rows
        if len(page) < self._page:
            # The end was reached. What the page could not see is in the commit that is open now, because
            # reading and committing take turns.
            self._counts[key] = sum((queue, priority) == key for queue, priority, _ in rows.backlog_added)
        else:
            self._counts[key] = max(1, self._counts.get(key, 0) - len(page))
        if page:
            self._last_read[key] = page[-1].seq
            self._from[key] = page[-1].seq + 1
            rows.backlog_removed.append((*key, page[-1].seq))
            self._committer.touch()
            self._load(page)
