"""A shard: everything the owner of some runs keeps in memory, and what happens after each commit.

This is the switchboard. The rules are in `domain`, the work in the modules beside this one; who is connected
is in `connections`. Invariant: nothing of a run is shown to anybody before the commit that made it durable.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from taskyard_contract.clock import Clock
from taskyard_contract.errors import RunExists, StorageFull, StorageUnavailable
from taskyard_contract.ids import format_id
from taskyard_contract.states import FIRST_FINAL, RunKind, RunState, StateReason
from taskyard_controlplane.domain.admission import waits_of
from taskyard_controlplane.domain.effects import Effect
from taskyard_controlplane.domain.events import RunEvent
from taskyard_controlplane.domain.live_state import LiveState
from taskyard_controlplane.domain.machine import annul, transition
from taskyard_controlplane.domain.model import AGENT, SESSION, Run, Submitter
from taskyard_controlplane.owner.journal.committer import Commit, Committer
from taskyard_controlplane.owner.journal.stored_runs import REPEAT_SECONDS, StoredRuns
from taskyard_controlplane.owner.journal.templates import Templates
from taskyard_controlplane.owner.metrics import Metrics
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.client_session import ClientSession
from taskyard_controlplane.owner.queueing.backlog import Backlog
from taskyard_controlplane.owner.queueing.dispatcher import Dispatcher
from taskyard_controlplane.owner.queueing.submission import Submission
from taskyard_controlplane.owner.rules.admission import Admission
from taskyard_controlplane.owner.rules.cache import CacheFlights, Hit
from taskyard_controlplane.owner.rules.flows import Flows
from taskyard_controlplane.owner.rules.outcome_messages import copy_outcome
from taskyard_controlplane.owner.rules.reporting import Reporting
from taskyard_controlplane.owner.rules.settling import Settling
from taskyard_controlplane.owner.rules.upstream import Ended, UpstreamEdges
from taskyard_controlplane.owner.timers import Timers
from taskyard_controlplane.storage.interface import CommitResult, NewRunRow, Store, StoredRun

MAX_RECENT: Final = 8_192
MAX_RECENT_BYTES: Final = 4_096
ACK_DELAY: Final = 0.02
ACKS_AT_ONCE: Final = 3
CANCEL_REQUESTED: Final = "cancellation was requested"
READY: Final = int(RunState.READY)
_ENDED: Final = int(Effect.NOTIFY)
_ENQUEUE: Final = int(Effect.ENQUEUE)
_SEND_CANCEL: Final = int(Effect.SEND_CANCEL)
_LOOK_UP_CACHE: Final = int(Effect.LOOK_UP_CACHE)
_REQUEST_CANCEL: Final = int(Effect.REQUEST_CANCEL)
_CANCEL_CHILDREN: Final = int(Effect.CANCEL_CHILDREN)


class Shard:
    """The runs of one shard. Made and used on one event loop."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        max_inline_bytes: int,
        fatal: Callable[[BaseException], None],
        window: int | None = None,
    ) -> None:
        """Own the runs in `store`; `fatal` is called when this process must not go on."""
        self.store = store
        self.clock = clock
        self.metrics = Metrics()
        self.runs: dict[bytes, Run] = {}
        self.recent: dict[bytes, Ended] = {}
        self.flows_by_seq: dict[int, Run] = {}
        self.sessions: dict[bytes, ClientSession] = {}
        self.agents_by_id: dict[str, AgentSession] = {}
        # Runs an earlier owner assigned, by agent, until that agent has said what it still holds.
        self.orphans: dict[str, list[Run]] = {}
        self.generation = 0
        self.max_inline_bytes = max_inline_bytes
        self._fatal = fatal
        self._window = window
        self._watchers: dict[bytes, list[asyncio.Future[None]]] = {}
        self._ack_pending: set[AgentSession | ClientSession] = set()
        self.templates = Templates()
        self.timers = Timers(asyncio.get_running_loop(), clock)
        self.committer = Committer(
            store,
            clock,
            self.metrics,
            committed=self._committed,
            refused=self._refused,
            fatal=fatal,
        )
        self.stored = StoredRuns(
            store,
            self.committer,
            self.templates,
            self.timers,
            clock,
            self.runs,
            self.flows_by_seq,
            self.sessions,
        )
        self.settling = Settling(self.committer, self.timers, clock, self.metrics)
        self.upstream = UpstreamEdges(self.runs, self.recent, self.settling.apply)
        self.cache = CacheFlights(
            self.settling.apply, self._cache_hit, lambda row: self.templates.by_id(row).encoding, self.metrics
        )
        self.admission = Admission(self.committer, self.upstream, self.cache)
        self.flows = Flows(self.runs, self.committer, self.settling, clock)
        self.dispatcher: Dispatcher
        self.backlog: Backlog
        self.submission: Submission
        self.reporting: Reporting

    def begin(self, generation: int, next_seq: int, next_dispatch: int) -> None:
        """Build what depends on the generation that was acquired."""
        self.generation = generation
        self.dispatcher = Dispatcher(
            self.store,
            self.committer,
            self.templates,
            self.clock,
            self.metrics,
            generation,
            next_dispatch,
            self._undeliverable,
        )
        limit = {} if self._window is None else {"window": self._window}
        self.backlog = Backlog(
            self.store, self.committer, self.dispatcher, self.templates, self._refill, **limit
        )
        self.submission = Submission(
            self.runs, self.committer, self.templates, self.admission, self.backlog, self.clock,
            self.metrics, next_seq, self.max_inline_bytes,
        )  # fmt: skip
        self.reporting = Reporting(
            self.runs, self.committer, self.settling, self.clock, self.metrics, generation
        )

    # What others may ask.

    @property
    def agents(self) -> list[AgentSession]:
        """The agents whose lease has not lapsed."""
        return list(self.agents_by_id.values())

    def open_count(self) -> int:
        """Return how many open runs are in memory."""
        return len(self.runs)

    def backlog_count(self) -> int:
        """Return how many queued runs are only in the database."""
        return self.backlog.count()

    def state_of(self, run_id: bytes) -> LiveState | None:
        """Return what only the owner knows about an open run; None when it is not in memory."""
        run = self.runs.get(run_id)
        if run is None or run.ended:
            return None
        agent_name = run.agent.name if run.agent is not None else ""
        return LiveState(run.state, run.reason, run.attempt, run.infra_retries, run.started_us, agent_name)

    async def cancel(self, run_id: bytes) -> int:
        """Request the end of a run; returns its state once the request is durable.

        Raises:
            RunNotFound: There is no such run.
        """
        found = await self.stored.find(run_id)
        run = self.stored.load([found]).get(run_id) if isinstance(found, StoredRun) else found
        if run is None:
            return found.state
        self.flows.cancel([run], CANCEL_REQUESTED)
        await self.committer.durable()
        return run.state

    async def wait_ended(self, run_id: bytes) -> None:
        """Return when a run has ended and its end is durable.

        Raises:
            RunNotFound: There is no such run.
        """
        run = await self.stored.find(run_id)
        if isinstance(run, StoredRun) and run.state >= FIRST_FINAL:
            return
        future = asyncio.get_running_loop().create_future()
        self._watchers.setdefault(run_id, []).append(future)
        try:
            await future
        finally:
            waiting = self._watchers.get(run_id)
            if waiting is not None and future in waiting:
                waiting.remove(future)

    async def put_blob(self, digest: bytes, data: bytes) -> None:
        """Store a blob."""
        await self.committer.run(lambda: self.store.put_blob(digest, data))

    # After a commit.

    def _committed(self, commit: Commit, result: CommitResult) -> None:
        woken: set[Submitter] = set()
        for session, number in commit.accepted.items():
            session.acknowledge(number)
            if session.unsaid >= ACKS_AT_ONCE:
                woken.add(session)
            else:
                self._acknowledge_soon(session)
        commit.duplicates = frozenset(result.duplicates)
        for run_id in result.duplicates:
            self._duplicate(commit, run_id)
        enqueue = self.dispatcher.enqueue
        for run in commit.submitted:
            if run.state == READY:
                enqueue(run)
            elif run.upstream is not None:
                self.upstream.submitted(run)
            if run.template.kind == RunKind.FLOW:
                self.flows_by_seq[run.seq] = run
        self.backlog.arrived()
        for agent, number in commit.reported.items():
            agent.acknowledge(number)
            self._acknowledge_soon(agent)
        for run, effects in commit.effects:
            if effects & _ENDED:
                self._ended(run, effects, woken)
            else:
                self._perform(run, effects)
        if commit.rows.lookup_runs:
            self.upstream.looked_up(commit.rows.lookup_runs, result.runs)
        if commit.rows.lookup_keys:
            self.cache.looked_up(commit.rows.lookup_keys, result.cached)
        for decider, decision in commit.decided:
            decider.decide(decision)
            woken.add(decider)
        for action in commit.then:
            action()
        for submitter in woken:
            submitter.wake()
        self._upkeep()

    def _upkeep(self) -> None:
        below = self.dispatcher.forget()
        # What an earlier owner logged is needed until its agents have said what they still hold.
        if below is not None and not self.orphans:
            self.committer.open.rows.dispatched_below = below
        if len(self.recent) > 2 * MAX_RECENT:
            for run_id in list(self.recent)[:MAX_RECENT]:
                del self.recent[run_id]
        self.backlog.refill()
        self.dispatcher.pump()

    def _ended(self, run: Run, effects: int, woken: set[Submitter]) -> None:
        run_id = run.run_id
        if run.downstream is not None or self.upstream.waits_for(run_id):
            self.upstream.ended(run)
        if run.cache_key is not None:
            self.cache.ended(run)
        if run.template.kind == RunKind.FLOW:
            self._flow_ended(run, effects)
        if run.session is not None and run.template.executor == AGENT:
            run.session.push_result(run_id, run.result, run.outcome)
            woken.add(run.session)
        self.runs.pop(run_id, None)
        payload = run.result if run.outcome is None else run.outcome
        if payload is None or len(payload) <= MAX_RECENT_BYTES:
            self.recent[run_id] = (run.state, run.result, run.outcome)
        self._wake_watchers(run_id)
        run.args = run.inputs = run.session = None

    def _wake_watchers(self, run_id: bytes) -> None:
        if self._watchers:
            for future in self._watchers.pop(run_id, ()):
                if not future.done():
                    future.set_result(None)

    def _flow_ended(self, run: Run, effects: int) -> None:
        self.flows_by_seq.pop(run.seq, None)
        if run.session is not None and run.template.executor == SESSION:
            run.session.executing.pop(run.run_id, None)
        if effects & _CANCEL_CHILDREN:
            self._cancel_inside(run)

    def _perform(self, run: Run, effects: int) -> None:
        if effects & _ENQUEUE and run.state == READY:
            self.dispatcher.enqueue(run)
        if effects & _SEND_CANCEL and run.agent is not None:
            run.agent.cancel(run)
        if effects & _LOOK_UP_CACHE and run.state == RunState.AWAITING_CACHE:
            self.admission.arrange(run, effects)
        if effects & _REQUEST_CANCEL and run.session is not None:
            run.session.request_cancel(run.run_id)
        if effects & _CANCEL_CHILDREN:
            self._cancel_inside(run)

    def _cancel_inside(self, flow: Run) -> None:
        self.flows.cancel_inside(flow)
        if self.backlog.count():
            self.stored.read(
                lambda: self.store.backlog_of_flow(flow.seq),
                lambda runs: self.flows.cancel_inside(flow, runs),
            )

    def _acknowledge_soon(self, peer: AgentSession | ClientSession) -> None:
        """Let an acknowledgement ride on the next frame, or send it on its own after a short while."""
        if not self._ack_pending:
            self.timers.after(ACK_DELAY, self._send_acknowledgements, name="acknowledgements")
        self._ack_pending.add(peer)

    def _send_acknowledgements(self) -> None:
        for peer in self._ack_pending:
            peer.wake()
        self._ack_pending.clear()

    def _refill(self, rows: list[StoredRun]) -> None:
        """Let runs that were taken out of the backlog start."""
        for run in self.stored.load(rows).values():
            # What is not READY is a run in memory with the same id, or about to end.
            if run.state == READY and self.admission.enter(run, waits_of(run)) & _ENQUEUE:
                self.dispatcher.enqueue(run)
        self.dispatcher.pump()

    def _cache_hit(self, run: Run, hit: Hit) -> None:
        attempt = run.attempt
        effects = transition(run, RunEvent.CACHE_HIT)
        if effects:
            run.reason, run.ended_us = StateReason.CACHED, self.clock.now_us()
            run.started_us = None
            run.outcome = copy_outcome(run, *hit)
            self.settling.settle(run, effects, attempt, None)

    def _undeliverable(self, runs: list[Run], error: BaseException) -> None:
        if isinstance(error, StorageUnavailable | StorageFull):
            epochs = [(run, run.epoch) for run in runs]
            self.timers.after(REPEAT_SECONDS, lambda: self._give_back(epochs), name="give back")
            return
        message = f"the results of its upstream runs could not be sent: {error}"
        for run in runs:
            self.settling.apply(run, RunEvent.FAILED_FOR_GOOD, message=message)

    def _give_back(self, runs: list[tuple[Run, int]]) -> None:
        for run, epoch in runs:
            if run.epoch == epoch:
                self.settling.apply(run, RunEvent.GIVEN_BACK, reason=StateReason.GIVEN_BACK)

    # When the database refuses.

    def _duplicate(self, commit: Commit, run_id: bytes) -> None:
        """Refuse a run whose id the database had; for those that wait for it, the one it had counts."""
        run = self.runs.get(run_id)
        if run is not None and run in commit.submitted:
            del self.runs[run_id]
            annul(run)
            self.cache.refused(run)
            self.upstream.look_up(run, self.committer.open.rows)
            self.committer.touch()
        new = next(row for row in map(NewRunRow._make, commit.rows.new_runs) if row.run_id == run_id)
        submitter = self.sessions.get(new.session_id) if new.session_id else None
        subscriber = run.session if run is not None else None
        error = RunExists(
            f"run {format_id(run_id)} was submitted before; make a new id for every run", run_id=run_id
        )
        for session in filter(None, {submitter, subscriber}):
            session.refuse(run_id, error)
            session.wake()
        self._wake_watchers(run_id)

    def _refused(self, commit: Commit, error: StorageFull) -> None:
        """Take the new runs out of a commit that found the database full, and say so."""
        rows = commit.rows
        commit.refused = error if rows.new_runs else commit.refused
        for session, number in commit.accepted.items():
            session.acknowledge(number)
            session.wake()
        seqs = {row[0] for row in rows.new_runs}
        for row in map(NewRunRow._make, rows.new_runs):
            run = self.runs.pop(row.run_id, None)
            owner = self.sessions.get(row.session_id) if row.session_id else None
            if run is not None:
                annul(run)
                self.cache.refused(run)
                self._wake_watchers(row.run_id)
            if owner is not None:
                owner.executing.pop(row.run_id, None)
                owner.refuse(
                    row.run_id, StorageFull(str(error), run_id=row.run_id, retry_after=error.retry_after)
                )
        self.metrics.refused_runs += len(rows.new_runs)
        self.backlog.refused(rows.backlog_added)
        commit.submitted.clear()
        commit.accepted.clear()
        rows.new_runs.clear()
        rows.backlog_added.clear()
        rows.logs.clear()
        rows.ended = [row for row in rows.ended if row[-1] not in seqs]
        rows.events = [row for row in rows.events if row[0] not in seqs]
        commit.effects = [(run, effects) for run, effects in commit.effects if run.seq not in seqs]
        if commit is not self.committer.open:
            # Templates and code are small, and later runs refer to them.
            self.committer.open.rows.templates[:0] = rows.templates
            self.committer.open.rows.blobs[:0] = rows.blobs
            rows.templates, rows.blobs = [], []
