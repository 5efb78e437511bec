"""The owner of a shard as a whole: starts, serves calls from the RPC layer, stops.

Invariant: between `start` and `stop` this process is the only one that writes the shard; when that ends for
any other reason, `fatal` is called and nothing more is written.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Final

from taskyard_api.v1 import common_pb2, run_service_pb2, session_service_pb2
from taskyard_contract.clock import Clock
from taskyard_contract.errors import RunNotFound
from taskyard_contract.ids import format_id
from taskyard_contract.payload_limits import MAX_PAGE_SIZE, MAX_WAIT_SECONDS
from taskyard_contract.states import FIRST_FINAL, RunState
from taskyard_controlplane.domain.live_state import InHand, LiveState
from taskyard_controlplane.domain.memory import DEFAULT_MEMORY, MemoryLimits
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.journal.changes import Changes
from taskyard_controlplane.owner.journal.committer import Committer
from taskyard_controlplane.owner.journal.documents import Documents
from taskyard_controlplane.owner.journal.log_tails import LogTails
from taskyard_controlplane.owner.logs.limits import DEFAULT_LIMITS, LogLimits
from taskyard_controlplane.owner.logs.writer import LogWriter
from taskyard_controlplane.owner.metrics import Metrics
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.client_session import ClientSession
from taskyard_controlplane.owner.queueing.backlog import WINDOW
from taskyard_controlplane.owner.queueing.parking import MOST_OPEN
from taskyard_controlplane.owner.retention.policy import DEFAULT_POLICY, Policy
from taskyard_controlplane.owner.retention.retention import Retention
from taskyard_controlplane.owner.rules.cancelling import NOBODY_SAYS, Wish
from taskyard_controlplane.owner.rules.retry_delays import RetryDelays
from taskyard_controlplane.owner.serving.cache_clearing import CacheClearing
from taskyard_controlplane.owner.serving.connections import Connections
from taskyard_controlplane.owner.serving.explaining import Explaining
from taskyard_controlplane.owner.serving.resuming import Resuming
from taskyard_controlplane.owner.serving.terms import LeaseTimes, Terms, nowhere
from taskyard_controlplane.owner.serving.unowned_runs import UnownedRuns
from taskyard_controlplane.owner.shard.recovery import read_store, rebuild
from taskyard_controlplane.owner.shard.shard import Limits, Shard
from taskyard_controlplane.owner.timers import Timers
from taskyard_controlplane.storage.interface import LAST_LOG, RunHead, Store

MAINTAIN_SECONDS: Final = 3.0
"""How often upkeep is done: a checkpoint is due after a few thousand commits, which takes that long."""

WATCH_SECONDS: Final = 1.0
"""How often somebody looks whether the database answers: what it is told in matters by the second."""


def in_hand_of(run: Run, caller: Run | None) -> InHand:
    """Return what is told of a run that somebody has in hand."""
    template = run.template
    by = caller.template.name if caller is not None and caller is not run.flow else ""
    return InHand(run.seq, template.kind, template.name, by, run.state)


class Owner:
    """What the RPC layer and the composition root see."""

    def __init__(
        self,
        store: Store,
        times: LeaseTimes,
        clock: Clock,
        *,
        max_inline_bytes: int,
        max_payload_bytes: int,
        fatal: Callable[[BaseException], None],
        max_page_size: int = MAX_PAGE_SIZE,
        max_wait_seconds: float = MAX_WAIT_SECONDS,
        blob_directory: Callable[[], common_pb2.BlobDirectory | None] = nowhere,
        window: int = WINDOW,
        most_open: int = MOST_OPEN,
        memory: MemoryLimits = DEFAULT_MEMORY,
        writer: Executor | None = None,
        delays: RetryDelays | None = None,
        policy: Policy = DEFAULT_POLICY,
        log_limits: LogLimits = DEFAULT_LIMITS,
    ) -> None:
        """Own the runs in `store`.

        Args:
            store: The database, not opened yet.
            times: How long silence is tolerated; `clock`: both clocks.
            max_inline_bytes: Largest payload inside another message.
            max_payload_bytes: Largest payload at all.
            fatal: Called when this process must end: it lost ownership, or found a defect.
            max_page_size: Most items in one page of a listing.
            max_wait_seconds: How long one call waits for something to happen.
            blob_directory: Returns the store of blobs, if it is a directory that peers may see.
            window: Ready runs kept in memory per queue and priority.
            most_open: Open runs in memory, from which on new ones that wait for others are only stored.
            memory: How much payload is kept in memory.
            writer: Where database and log store are used, each by one at a time; None for own threads.
            delays: How long after a failed attempt the next one begins; None: as templates say.
            policy: How long what is over is kept; `log_limits`: how much one run may log.
        """
        self._store, self._clock = store, clock
        self.terms = Terms(
            times, max_inline_bytes, max_payload_bytes, memory, max_page_size, max_wait_seconds,
            blob_directory,
        )  # fmt: skip
        """What it demands of its peers."""
        self._limits = Limits(max_inline_bytes, window, most_open, memory, max_payload_bytes)
        self._delays, self._policy = delays or RetryDelays(), policy
        self.metrics = Metrics()
        """The owner's counters."""
        self._timers = Timers(asyncio.get_running_loop(), clock)
        self.logs = LogWriter(store.logs, clock, self.metrics, log_limits, writer)
        self._committer = Committer(store, clock, self.metrics, fatal=fatal, logs=self.logs, writer=writer)
        self.documents = Documents(store, self._committer, clock)
        self.cache = CacheClearing(store, self._committer)
        # All of these from `start` on: which generation this is decides what can be made.
        self.shard: Shard
        self.explaining: Explaining
        self.connections: Connections
        self.retention: Retention
        self._unowned: UnownedRuns
        self._stopping = False

    async def start(self) -> None:
        """Become the owner and rebuild the shard from the database.

        Raises:
            DatabaseInUse: Another process owns the database.
            TaskyardError: The database cannot be used.
        """
        now_us = self._clock.now_us()
        found = await self._committer.run(lambda: read_store(self._store, now_us))
        self._committer.recorded_seq = found.ownership.next_seq - 1
        self.logs.numbers.go_on_after(max(found.logs.last_id, found.ownership.next_log - 1))
        self.shard = Shard(
            self._store, self._clock, self.metrics, self._timers, self._committer, found.ownership,
            self._limits, self._delays, self.logs,
        )  # fmt: skip
        self.retention = Retention(
            self._store, self.shard, self._timers, self._clock, self._policy,
            self.terms.times.session_lease,
        )  # fmt: skip
        await self.retention.start()
        self.explaining = Explaining(self.shard, self._clock)
        self._unowned = UnownedRuns(self.shard, self.terms)
        self.resuming = Resuming(self.shard, self._clock)
        self.connections = Connections(self.shard, self.terms, self._clock, self.metrics)
        await rebuild(self.shard, self._store, found, self.terms.times.agent_lease, self._clock)
        self.connections.leases.start()
        self._timers.after(MAINTAIN_SECONDS, self._maintain, name="maintenance")
        self._timers.after(WATCH_SECONDS, self._watch, name="database watch")

    def begin_stop(self) -> None:
        """Tell everybody to reconnect elsewhere, or later."""
        self._stopping = True
        self.connections.begin_stop()

    async def stop(self) -> bool:
        """Make everything accepted durable and give the database up.

        Returns:
            Whether everything accepted is durable: a database that refuses commits is not waited for. One
            that hangs is; whoever cannot wait for so long abandons the owner.
        """
        self._stopping = True
        self._timers.stop()
        self.retention.stop()
        if self._committer.stalled_since is None:
            await self._committer.flush()
            await self.logs.settled()
            await self._committer.flush()  # what could not be stored is said in the database
        recorded = self._committer.idle
        await self.logs.close()
        await self._committer.close()
        return recorded

    def abandon(self) -> None:
        """Do nothing more at all, as if this process had been killed. Its database is left as it is."""
        self._stopping = True
        self._timers.stop()
        self.retention.stop()
        self.logs.abandon()
        self._committer.abandon()

    def renew(self) -> None:
        """Make anew what is made all the time; at rest, after much has happened (`heap`)."""
        self._committer.renew()

    def clock_was_set(self, seconds: float) -> None:
        """Do what has become due by the clock having been set forward by so many seconds. For tests."""
        self._committer.response.clock_was_set(seconds)
        self.connections.leases.clock_was_set(seconds)
        self._timers.fire()

    def _maintain(self) -> None:
        """Do the store's upkeep and note how far recovery will have to look back."""
        if self._stopping:
            return
        if not self._committer.stalled:
            shard = self.shard
            known = [seq for seq in (shard.book.low_seq(), shard.backlog.low_seq()) if seq is not None]
            shard.journal.nothing_open_below(min(known, default=shard.submission.next_seq))
            shard.delivery.upkeep()
            shard.book.upkeep()
            shard.backlog.tidy()
            shard.backlog.refill()  # commits do it, but nobody may be committing after a read has failed
            self.logs.maintain()
            future = self._committer.run(self._store.maintain)
            future.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._timers.after(MAINTAIN_SECONDS, self._maintain, name="maintenance")

    def _watch(self) -> None:
        """Have the log say when the database does not answer: who waits for it cannot."""
        self._committer.response.look()
        if not self._stopping:
            self._timers.after(WATCH_SECONDS, self._watch, name="database watch")

    # What can be asked.

    @property
    def generation(self) -> int:
        """The generation the shard is owned under."""
        return self.shard.generation

    @property
    def agents(self) -> list[AgentSession]:
        """The agents whose lease has not lapsed."""
        return list(self.shard.roster.agents.values())

    @property
    def sessions(self) -> list[ClientSession]:
        """The sessions whose lease has not lapsed."""
        return list(self.shard.roster.sessions.values())

    @property
    def stalled(self) -> bool:
        """Whether the database takes no commits at the moment: it refuses them, or does not answer."""
        return self._committer.stalled

    def open_count(self) -> int:
        """Return how many open runs are in memory."""
        return len(self.shard.book.runs)

    def backlog_count(self) -> int:
        """Return how many open runs are only in the database."""
        return self.shard.backlog.count()

    def idle(self) -> bool:
        """Whether nobody is connected as a client and no run is open."""
        # Workers keep the sessions they once needed; only those of users' own processes count.
        busy = any(session.connected and not session.caller_run_id for session in self.sessions)
        return not (busy or self.open_count() or self.backlog_count())

    def state_of(self, run_id: bytes) -> LiveState | None:
        """Return what only the owner knows about an open run; None when it is not in memory."""
        run = self.shard.book.open_run(run_id)
        if run is None:
            return None
        agent = run.agent
        name, agent_id = (agent.name, agent.agent_id) if agent is not None else ("", "")
        progress = self.shard.book.progress.of(run_id) or b""
        waits = self.explaining.obstacle(run) if run.state == RunState.READY and agent is None else ""
        return LiveState(
            run.state,
            run.reason,
            run.attempt,
            run.infra_retries,
            run.started_us,
            name,
            agent_id,
            progress,
            waits,
        )

    def held_by(self, agent_name: str) -> list[bytes]:
        """Return the runs that agents of a name execute now, or have in hand."""
        agents = self.shard.roster.agents.values()
        return [run_id for agent in agents if agent.name == agent_name for run_id in agent.held]

    def in_hand(self, flow_run_id: bytes) -> list[InHand]:
        """Return the runs inside a flow run that somebody executes now, or has in hand."""
        roster, runs = self.shard.roster, self.shard.book.runs
        held = [agent.held.values() for agent in roster.agents.values()]
        executed = [session.executing.values() for session in roster.sessions.values()]
        return [
            in_hand_of(run, runs.get(run.caller_id or b""))
            for some in (*held, *executed)
            for run in some
            if run.flow is not None and run.flow.run_id == flow_run_id
        ]

    @property
    def changes(self) -> Changes:
        """What changes, for those who watch runs."""
        return self.shard.changes

    @property
    def tails(self) -> LogTails:
        """Who follows logs."""
        return self.shard.tails

    async def durable(self) -> None:
        """Return when everything that was accepted until now is durable.

        Raises:
            TaskyardError: It never will be.
        """
        await self._committer.durable()
        await self.logs.settled()

    async def logs_up_to(self, run_seq: int) -> int:
        """Return up to which number the log of a run may be shown, when everything in it that has come until
        now is stored: what has a lower number and comes to be stored later would be passed over.
        """
        if self.logs.holds(run_seq):
            await self.logs.settled()
        commits = self._committer.undurable()
        lines = (row[-1] for commit in commits for row in commit.rows.logs if run_seq in row[:2])
        return min(self.logs.stored_up_to(run_seq), min(lines, default=LAST_LOG + 1) - 1)  # type: ignore[operator, type-var]

    # What can be done.

    async def cancel(self, run_id: bytes, wish: Wish = NOBODY_SAYS) -> int:
        """Request the end of a run; returns its state once the request is durable.

        Raises:
            RunNotFound: There is no such run.
        """
        shard = self.shard
        run = shard.book.runs.get(run_id)
        if run is None:
            rows = await shard.stored.heads([run_id])
            if not rows:
                raise RunNotFound(f"there is no run {format_id(run_id)}", run_id=run_id)
            run = shard.stored.load(rows).get(run_id)
            if run is None:
                return rows[0].state
        shard.cancelling.request([run], wish)
        await self._committer.durable()
        return run.state

    async def wait_ended(self, run_id: bytes) -> None:
        """Return when a run has ended and its end is durable.

        Raises:
            RunNotFound: There is no such run.
        """
        run = await self.shard.stored.find(run_id)
        if not (isinstance(run, RunHead) and run.state >= FIRST_FINAL):
            await self.shard.watchers.wait(run_id)

    def drain_agent(self, agent_id: str, wish: Wish = NOBODY_SAYS) -> int:
        """Ask an agent to drain; returns how many runs it holds.

        Raises:
            AgentNotFound: No such agent is connected.
        """
        return self.connections.agents.drain(agent_id, wish)

    async def submit_unowned(
        self, runs: Sequence[run_service_pb2.NewRun], blobs: Sequence[common_pb2.InlineBlob]
    ) -> list[session_service_pb2.RefusedRun]:
        """Record runs that belong to no session; returns those refused, once the others are durable.

        Raises:
            InvalidRequest, PayloadTooLarge, DigestMismatch: The request is malformed; nothing was recorded.
            StorageFull: The database had no room; nothing was recorded.
        """
        return await self._unowned.submit(runs, blobs)
