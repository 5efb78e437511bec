"""What an agent takes in: how much it asks for, what it queues, and what it gives back unstarted.

Three things decide whether a run that has not started is wanted here. *Room*: a window of as many runs as are
executed in a moment, measured; runs that wait for others take no room. *Crowding*: while many runs wait for
runs of their own, only such runs are wanted of their sessions (`admission`). *Draining*: an agent that is to
leave wants nothing, except what its own waiting runs may be waiting for. *Closed*: while the disk is full
nothing at all is wanted, because what it would return has no place. Whoever has runs that have not started
(fetched, revoked, left over by a dead worker) hands them in here, and they are queued or given back.
"""

from collections.abc import Callable, Collection, Container
from typing import Final

from taskyard_agent.holding.admission import MOST_WAITING, Admission
from taskyard_agent.holding.chunks import CARVE_BYTES, Span
from taskyard_agent.holding.holdings import Holdings
from taskyard_agent.holding.queue import EVERYBODY, SpanQueue
from taskyard_contract.agent_link.handler import Demand
from taskyard_contract.agent_link.window import PIPELINE_SECONDS, WindowSizer

GIVE_BACK_SECONDS: Final = 1.0
"""Between two times that stranded runs are given back: while the server has credit left they come again."""


class Intake:
    """The queue of an agent, and the one door into it."""

    def __init__(
        self,
        slots: int,
        holdings: Holdings,
        waiting: Callable[[], int],
        latest: Callable[[], bytes | None] = lambda: None,
        executing: Callable[[], int] = lambda: 0,
        most_waiting: int = MOST_WAITING,
        whose: Callable[[], Collection[int]] | None = None,
    ) -> None:
        """Serve an executor of so many slots.

        Args:
            slots: Runs it executes at a time.
            holdings: The account of all runs in hand.
            waiting: Says how many of its runs wait for other runs.
            latest: Names the run that was the last to begin to wait; None when there is none.
            executing: Says how many workers have runs and do not wait.
            most_waiting: How many runs may wait and have their slot served by others.
            whose: Says of which sessions runs wait for others; None when nobody knows.
        """
        self.queue = SpanQueue()
        self.sizer = WindowSizer(slots)
        self._holdings = holdings
        self._admission = Admission(slots, most_waiting)
        self._waiting = waiting
        self._latest = latest
        self._executing = executing
        self._whose = whose
        self.doubtful = False
        """Whether the lease may be about to lapse, so that nothing moves for another reason."""
        self.fetching: Callable[[], int] = lambda: 0
        """Says how many runs wait for large values to come."""
        self._slots = slots
        self._draining = False
        self._closed = False
        self._gave_back_at = 0.0

    def demand(self, coroutines: Demand | None = None) -> Demand:
        """Say how much work is wanted; a run that waits for others takes no room. `coroutines` go along.

        Nor does one for each slot that waits for its inputs: they come while others execute, however long
        these take.
        """
        sizer, admission = self.sizer, self._admission
        in_hand = self._holdings.runs - self._holdings.in_lanes - self._waiting()
        in_hand -= min(self.fetching(), self._slots)
        shares: tuple[int, ...] = ()
        if admission.crowded:  # looked at only when it matters
            in_hand -= admission.passable(self.queue.nested)
            restricted = self._restricted()
            shares = tuple(sorted(restricted)) if isinstance(restricted, Collection) else ()
        window = 0 if self._closed else sizer.window
        return Demand(in_hand, window, sizer.chunk_size, admission.crowded, shares, coroutines)

    def _restricted(self) -> Container[int]:
        """Return of which sessions only such runs may start that others wait for.

        Those that crowd the agent: it is no reason to let the runs of others wait. When as many runs wait as
        may, none of anybody is to be added.
        """
        admission = self._admission
        if not admission.crowded:
            return ()
        full = self._whose is None or self._waiting() >= admission.most
        return EVERYBODY if full or self._whose is None else self._whose()

    @property
    def pipelined(self) -> bool:
        """Whether a worker should have its next runs before it asks."""
        return self.sizer.pipelined and not self._admission.deep

    def is_quick(self, span: Span) -> bool:
        """Whether some runs may wait behind others in a worker: there they hold nobody up for long."""
        return len(span) * span.chunk.template.seconds <= PIPELINE_SECONDS

    def wants(self, span: Span) -> bool:
        """Whether runs that have not started may start here."""
        if self._closed:
            return False
        if self._draining:
            return span.chunk.nested and self._waiting() > 0
        chunk = span.chunk
        return chunk.nested or not self._admission.crowded or chunk.share not in self._restricted()

    def put_back(self, spans: list[Span]) -> None:
        """Queue runs before all others, or give back those that will not start here."""
        wanted: list[Span] = []
        unwanted: list[Span] = []
        for span in spans:
            (wanted if self.wants(span) else unwanted).append(span)
        self._holdings.give_back(unwanted)
        self.queue.put_back(wanted)

    @property
    def closed(self) -> bool:
        """Whether nothing at all is wanted."""
        return self._closed

    @property
    def draining(self) -> bool:
        """Whether nothing is wanted but what runs here wait for."""
        return self._draining

    def next(self) -> Span | None:
        """Take what a worker should have next."""
        admission = self._admission
        if admission.deep:
            # One by one: what is given along may begin when something else comes first.
            startable = admission.may_start(self._executing())
            span = self.queue.pop(1, self._restricted(), caller=self._latest()) if startable else None
        else:
            span = self.queue.pop(self.sizer.chunk_size, self._restricted())
        if span is None or len(span.chunk.body) <= CARVE_BYTES:
            return span
        return self._holdings.slim(span)

    def gave(self, span: Span) -> None:
        """Take in that a worker has got what was `next`."""
        self.queue.spent(span)

    def weigh(self) -> None:
        """Look whether so many runs wait for others now that nothing new should be started."""
        waiting = self._waiting()
        self._admission.weigh(waiting, self.queue.nested)
        if self._admission.crowded:
            # Others may start them, and room is needed for what is waited for.
            self._holdings.give_back(self.queue.pop_last(self.queue.runs, self._restricted()))
        if self._draining and not waiting:
            self._holdings.give_back(self.queue.clear())  # nobody here waits for any of it any more
        self._holdings.session.wake()

    def reconsider(self, idle: bool, now: float) -> bool:
        """Let more start after all, when nothing comes that the waiting runs could be waiting for.

        Returns:
            Whether something may have become possible to start.
        """
        if not self._admission.look(self._waiting(), idle, now, self.queue.nested, self._executing() > 0):
            return False
        self._holdings.session.wake()
        return True

    def refuses(self, now: float) -> bool:
        """Say whether the run that began to wait last has to end, so that what others wait for can start."""
        queued = 0 if self.doubtful else self.queue.nested
        return self._admission.refuses(self._waiting(), queued, now)

    def stranded(self) -> int:
        """Return how many of the runs in hand somebody else should have."""
        return self.sizer.stranded(self.demand().in_hand)

    def give_back_stranded(self, now: float) -> None:
        """Give back runs that would wait here while other agents may be idle."""
        count = min(self.stranded(), self.queue.runs)
        if count > 0 and now - self._gave_back_at >= GIVE_BACK_SECONDS:
            self._gave_back_at = now
            self._holdings.give_back(self.queue.pop_last(count))

    def close(self, closed: bool) -> None:
        """Want nothing while `closed`, and give back what is queued."""
        self._closed = closed
        self.put_back(self.queue.clear())
        self._holdings.session.wake()

    def drain(self) -> None:
        """Take in nothing more, and give back what is queued."""
        self._draining = True
        self.put_back(self.queue.clear())
