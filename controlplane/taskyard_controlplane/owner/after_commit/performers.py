"""One performer for each effect that others can see.

The end of a run has a performer of its own for all that belongs to it (RELEASE_DOWNSTREAM, SETTLE_CACHE and
NOTIFY, which every end has): it happens once for every run there is, and a call for each of the three would
cost more than what they do for most runs, which is nothing. All others are rare, and are looked up.
"""

from collections.abc import Callable
from functools import partial

from taskyard_contract.states import RunState
from taskyard_controlplane.domain.effects import Effect
from taskyard_controlplane.domain.model import AGENT, Run
from taskyard_controlplane.owner.journal.queued_endings import QueuedEndings
from taskyard_controlplane.owner.journal.run_book import RunBook
from taskyard_controlplane.owner.journal.watchers import Told, Watchers
from taskyard_controlplane.owner.queueing.backlog import Backlog
from taskyard_controlplane.owner.queueing.dispatcher import Dispatcher
from taskyard_controlplane.owner.queueing.matchmaking import Matchmaking
from taskyard_controlplane.owner.rules.admission import Admission
from taskyard_controlplane.owner.rules.cache import CacheFlights
from taskyard_controlplane.owner.rules.cancelling import Cancelling
from taskyard_controlplane.owner.rules.upstream import UpstreamEdges


class Endings:
    """Performs what follows from the end of a run."""

    def __init__(
        self,
        book: RunBook,
        upstream: UpstreamEdges,
        cache: CacheFlights,
        watchers: Watchers,
        ready: Matchmaking,
    ) -> None:
        """Take ended runs out of `book`; `ready` counts those that are still in a queue."""
        self._book = book
        self._ready = ready
        self._upstream = upstream
        self._cache = cache
        self._watchers = watchers

    def perform(self, run: Run, told: Told) -> None:
        """Release what waits for the run, settle its cache key, and tell who is interested; those sessions
        that have to be woken for it join `told`.
        """
        run_id = run.run_id
        if run.downstream is not None or self._upstream.waits_for(run_id):
            self._upstream.ended(run)
        if run.cache_key is not None:
            self._cache.ended(run)
        session = run.session
        # Whoever executes a run itself gets the answer to its report instead.
        if session is not None and run.template.executor == AGENT:
            session.push_result(run_id, run.result, run.outcome)
            told[session] = None
        self._book.ended(run)
        if run.queued:
            self._ready.ended += 1
        if self._watchers.waiting:  # nobody does, mostly
            self._watchers.ended(run, told)
        # Others may keep the record a little longer; what is large in it, or leads on, goes now.
        run.args = run.inputs = run.session = None


class Performers:
    """Performs the effects of transitions that do not end a run, and what else an end brings about."""

    def __init__(
        self,
        book: RunBook,
        dispatcher: Dispatcher,
        admission: Admission,
        cancelling: Cancelling,
        backlog: Backlog,
        endings: QueuedEndings,
    ) -> None:
        """Name who performs each effect, in the order in which several of one run are performed."""
        self._book = book
        self._dispatcher = dispatcher
        self._admission = admission
        self._cancelling = cancelling
        self._backlog = backlog
        self._endings = endings
        self._table: tuple[tuple[int, Callable[[Run], None]], ...] = (
            (int(Effect.ENQUEUE), self._enqueue),
            (int(Effect.SEND_CANCEL), self._send_cancel),
            (int(Effect.LOOK_UP_CACHE), self._look_up_cache),
            (int(Effect.REQUEST_CANCEL), self._request_cancel),
            (int(Effect.CANCEL_INSIDE), self._cancel_inside),
        )

    def perform(self, run: Run, effects: int) -> None:
        """Perform what is asked for. The run may have moved on since: each performer looks first."""
        for effect, performer in self._table:
            if effects & effect:
                performer(run)

    def _enqueue(self, run: Run) -> None:
        if run.state == RunState.READY:
            self._dispatcher.enqueue(run)

    def _send_cancel(self, run: Run) -> None:
        if run.agent is not None:
            run.agent.cancel(run)

    def _look_up_cache(self, run: Run) -> None:
        if run.state == RunState.AWAITING_CACHE:
            self._admission.arrange(run, int(Effect.LOOK_UP_CACHE))

    def _request_cancel(self, run: Run) -> None:
        if run.session is not None:
            run.session.request_cancel(run.run_id)

    def _cancel_inside(self, flow: Run) -> None:
        end = partial(self._cancelling.end_with_flow, flow)
        self._endings.inside(
            flow,
            self._book.inside(flow),
            end,
            partial(self._cancelling.all_ended_with_flow, flow),
            queued=self._backlog.count() > 0,
        )
