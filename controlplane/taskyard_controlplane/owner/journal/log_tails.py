"""Who follows the log of a run, and is woken when something may have been added to it.

Log records are read from where they are stored by whoever follows; here he only hears that it is time to. A
record is accepted as long as its run is in memory: until the end of the run is durable. So a log is complete
once that is so and everything that had been accepted until then is durable too; of a flow run, once that is
true of all runs inside it. Each step on the way to that wakes those who follow.
"""

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager

from taskyard_controlplane.owner.journal.commit import Commit
from taskyard_controlplane.owner.journal.run_book import RunBook

Wake = Callable[[], None]


class LogTails:
    """Followers of logs, by the number of the run whose log it is."""

    def __init__(self, book: RunBook) -> None:
        """Follow logs of runs, of which `book` knows the flow runs."""
        self._book = book
        self.waiting: dict[int, dict[Wake, None]] = {}
        """To be looked at before `committed` is called: nobody follows, mostly."""

    def __len__(self) -> int:
        """Return how many follow."""
        return sum(map(len, self.waiting.values()))

    @contextmanager
    def follow(self, run_seq: int, wake: Wake) -> Iterator[None]:
        """Have `wake` called whenever the log of a run, or of a run inside it, may have changed or ended."""
        tails = self.waiting.setdefault(run_seq, {})
        tails[wake] = None
        try:
            yield
        finally:
            del tails[wake]
            if not tails and self.waiting.get(run_seq) is tails:
                del self.waiting[run_seq]

    def stored(self, runs: AbstractSet[int]) -> None:
        """Wake those whom records concern that are stored now, by the runs whose logs they are in."""
        for seq in self.waiting.keys() & runs:
            for wake in self.waiting[seq]:
                wake()

    def committed(self, commit: Commit) -> None:
        """Wake whom a commit concerns, which is durable now."""
        waiting = self.waiting
        concerned = {row[0] for row in commit.rows.logs if row[0] in waiting}
        concerned |= {row[1] for row in commit.rows.logs if row[1] in waiting}
        for run, _ in commit.effects:
            if run.ended:
                concerned.update({run.seq, self._book.flow_seq_of(run)} & waiting.keys())
        for seq in concerned:
            for wake in waiting[seq]:
                wake()
