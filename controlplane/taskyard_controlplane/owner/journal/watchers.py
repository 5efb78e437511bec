"""Who waits for the end of a run that is not his: calls, and sessions that did not submit it.

A session hears of its own runs because each record names it. Everybody else is in here, and only hears: the
end of a watcher is nothing to the run, and the run stays that of the session that submitted it.
"""

import asyncio

from taskyard_contract.errors import TaskyardError
from taskyard_controlplane.domain.model import Run, Submitter
from taskyard_controlplane.owner.journal.run_book import RunBook

Told = dict[Submitter, None]
"""Sessions that something was put down for, to be woken once each, in this order."""


class Watchers:
    """Calls and sessions, by the run they wait for."""

    def __init__(self, book: RunBook) -> None:
        """Tell of the runs of `book`."""
        self._book = book
        self.waiting: dict[bytes, dict[asyncio.Future[None] | Submitter, None]] = {}
        """By run. To be looked at before `ended` is called where that happens for every run."""

    def __len__(self) -> int:
        """Return how many runs are waited for."""
        return len(self.waiting)

    def count(self, run_id: bytes) -> int:
        """Return how many calls and sessions wait for a run."""
        return len(self.waiting.get(run_id, ()))

    def connect(self, run: Run, session: Submitter) -> None:
        """Let a session hear of a run in memory. One that belongs to nobody else becomes its own."""
        if run.session is None or run.session.session_id == session.session_id:
            self._book.hand_over(run, session)
        else:
            self.listen(run.run_id, session)

    def listen(self, run_id: bytes, session: Submitter) -> None:
        """Let a session have the outcome of a run, once it has one."""
        self.waiting.setdefault(run_id, {})[session] = None

    def leave(self, session: Submitter) -> None:
        """Tell a session nothing any more: it has ended."""
        for run_id, waiting in list(self.waiting.items()):
            waiting.pop(session, None)
            if not waiting:
                del self.waiting[run_id]

    async def wait(self, run_id: bytes) -> None:
        """Return when a run has ended, or turns out to never have been recorded."""
        future = asyncio.get_running_loop().create_future()
        self.waiting.setdefault(run_id, {})[future] = None
        try:
            await future
        finally:
            waiting = self.waiting.get(run_id)
            if waiting is not None:
                waiting.pop(future, None)
                if not waiting:
                    del self.waiting[run_id]

    def ended(self, run: Run, told: Told) -> None:
        """Tell everybody how a run ended; sessions that have to be woken for it join `told`."""
        for each in self.waiting.pop(run.run_id, ()):
            if isinstance(each, asyncio.Future):
                _let_go(each)
            elif each is not run.session:  # or it knows already
                each.push_result(run.run_id, run.result, run.outcome)
                told[each] = None

    def refused(self, run_id: bytes, error: TaskyardError) -> None:
        """Tell everybody that there is no such run after all, and why."""
        for each in self.waiting.pop(run_id, ()):
            if isinstance(each, asyncio.Future):
                _let_go(each)
            else:
                each.refuse(run_id, error)
                each.wake()


def _let_go(call: asyncio.Future[None]) -> None:
    if not call.done():
        call.set_result(None)
