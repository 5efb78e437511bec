"""One flow run whose progress is shown: what is known of it here, and what its server is asked for.

What was submitted and what has ended is counted anyway. What is executed is known to the server alone: it is
asked now and then about the oldest runs that are open, among which those are; and the longer the answer
takes, the more seldom.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures import Future as ThreadFuture
from itertools import islice
from typing import Any, Final, Protocol

from taskyard._data.values.awaited import AwaitedRun, Origin
from taskyard._network.server.loop_thread import loop_thread
from taskyard._network.session.session import Session
from taskyard._network.session.tally import Ends
from taskyard.logging.progress_line import Counts, Pace, line
from taskyard_api.v1 import run_service_pb2
from taskyard_contract.errors import TaskyardError
from taskyard_contract.states import RunState

ASK_SECONDS: Final = 1.0
"""The server is asked at most so often."""
ASK_SHARE: Final = 20
"""And is left alone for so many times as long as an answer took."""
ASKED_ABOUT: Final = 1_000
"""As many runs as a filter may name: those that are executed are among the oldest."""
REMEMBERED: Final = 4
"""Of so many answers the highest is shown: of runs that take parts of a second a look meets a part."""
BREAK_SECONDS: Final = 1.0
"""Who calls one task after the other waits for none in between."""
LOOKED_AT: Final = 20_000
"""Of the open runs of all flow runs, to find those of one."""

_RUNNING: Final[list[Any]] = [int(RunState.RUNNING)]


class Place(Origin, Protocol):
    """Where the runs are submitted from: the scope of a flow run."""

    latest_map: str

    @property
    def executor(self) -> object:
        """What executes its runs in this process, if that does."""
        ...

    def submitted(self) -> int:
        """Return how many task runs were submitted from here."""
        ...


class Watched:
    """A flow run that is open, and how far its runs are."""

    def __init__(
        self, name: str, place: Place, session: Session, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Watch what is submitted from `place`; `name` is the flow run's."""
        self.name = name
        self.place = place
        self.session = session
        self.ends = Ends(place, mixed=place.executor is not None)
        self.begun = clock()
        self.open_since: float | None = None
        """Since when it has been waiting for runs, but for short breaks; None while it waits for none."""
        self.counts = Counts(0, 0)
        self._clock = clock
        self._before = place.submitted()
        self._open_at = self.begun
        self._pace = Pace(self.begun)
        self._asked: ThreadFuture[int] | None = None
        self._ask_at = self.begun
        self._answers: deque[int] = deque(maxlen=REMEMBERED)

    def look(self, *, ask: bool, alone: bool) -> None:
        """Look how far it is; ask the server if that is due and wanted."""
        now = self._clock()
        self._take_answer()
        total, ended = self.place.submitted() - self._before, self.ends.ended
        if not self.session.in_flight.outstanding(1):
            total = min(total, ended)  # a map that was refused has numbers, and no runs
        ended = min(ended, total)
        running = min(max(self._answers), total - ended) if self._answers else None
        self.counts = Counts(total, ended, min(self.ends.failed, ended), running)
        if self.counts.open:
            self._open_at = now
            if self.open_since is None:
                self.open_since = now
                self._pace.begin_at(now, ended)
        elif now - self._open_at >= BREAK_SECONDS:
            self.open_since = None
        self._pace.note(now, self.counts)
        if self.open_since is not None and ask:
            self._ask(now, alone)

    def waited(self) -> float:
        """Return for how many seconds it has been waiting for runs."""
        return 0.0 if self.open_since is None else self._clock() - self.open_since

    def row(self, width: int, *, colours: bool) -> str:
        """Return its line."""
        return line(self.name, self.counts, self._pace, width, detail=self.place.latest_map, colours=colours)

    def _ask(self, now: float, alone: bool) -> None:
        """Ask the server if that is due. Waits for nothing: the answer is there with a later look."""
        if self._asked is not None or now < self._ask_at:
            return
        wanted = run_service_pb2.RunFilter(run_ids=self._oldest(alone), states=_RUNNING)
        if not wanted.run_ids:
            return
        try:
            work = self.session.client().count_runs_once(wanted)
            self._asked = asyncio.run_coroutine_threadsafe(work, loop_thread.loop())
        except (TaskyardError, OSError, ValueError):  # nobody to ask: a yard that has ended
            self._answers.clear()
            self._ask_at = now + ASK_SECONDS * ASK_SHARE
        else:
            self._asked.add_done_callback(lambda _: self._answered(now))

    def _answered(self, asked_at: float) -> None:
        answered_at = self._clock()
        self._ask_at = answered_at + max(ASK_SECONDS, ASK_SHARE * (answered_at - asked_at))

    def _take_answer(self) -> None:
        asked = self._asked
        if asked is None or not asked.done():
            return
        self._asked = None
        try:
            self._answers.append(asked.result())
        except (TaskyardError, CancelledError):
            self._answers.clear()  # a server that is being replaced, or ends: the line does without

    def _oldest(self, alone: bool) -> list[bytes]:
        outstanding = self.session.in_flight.outstanding(ASKED_ABOUT if alone else LOOKED_AT)
        return list(islice((run.run_id for run in outstanding if self._is_own(run)), ASKED_ABOUT))

    def _is_own(self, run: AwaitedRun) -> bool:
        return run.origin is self.place
