"""The owner of a shard as a whole: starts, serves calls from the RPC layer, stops.

Invariant: between `start` and `stop` this process is the only one that writes the shard; when that ends for
any other reason, `fatal` is called and nothing more is written.
"""

from collections.abc import Callable, Sequence
from typing import Final

from taskyard_api.v1 import common_pb2, run_service_pb2, session_service_pb2
from taskyard_contract.clock import Clock
from taskyard_contract.errors import RunExists, TaskyardError
from taskyard_contract.ids import format_id
from taskyard_contract.rpc_errors import to_detail
from taskyard_controlplane.domain.live_state import LiveState
from taskyard_controlplane.domain.model import Run, Template
from taskyard_controlplane.owner.journal.documents import Documents
from taskyard_controlplane.owner.metrics import Metrics
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.client_session import ClientSession
from taskyard_controlplane.owner.queueing.checks import check_blobs, check_new_runs
from taskyard_controlplane.owner.serving.connections import Connections
from taskyard_controlplane.owner.serving.leases import LeaseTimes
from taskyard_controlplane.owner.shard.recovery import recover
from taskyard_controlplane.owner.shard.shard import Shard
from taskyard_controlplane.storage.interface import Store, StoredRun

MAINTAIN_SECONDS: Final = 3.0


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
        window: int | None = None,
    ) -> None:
        """Own the runs in `store`.

        Args:
            store: The database, not opened yet.
            times: How long silence is tolerated.
            clock: Both clocks.
            max_inline_bytes: Largest payload inside another message.
            max_payload_bytes: Largest payload at all.
            fatal: Called when this process must end: it lost ownership, or found a defect.
            window: Ready runs kept in memory per queue and priority; None for the default.
        """
        self._times = times
        self._shard = Shard(store, clock, max_inline_bytes=max_inline_bytes, fatal=fatal, window=window)
        self.connections = Connections(self._shard, times, clock, max_payload_bytes)
        self.documents = Documents(store, self._shard.committer, clock)
        self._max_payload = max_payload_bytes
        self._stopping = False

    async def start(self) -> None:
        """Become the owner and rebuild the shard from the database.

        Raises:
            DatabaseInUse: Another process owns the database.
            TaskyardError: The database cannot be used.
        """
        await recover(self._shard, self._times.agent_lease)
        self.connections.leases.start()
        self._shard.timers.after(MAINTAIN_SECONDS, self._maintain, name="maintenance")

    def begin_stop(self) -> None:
        """Tell everybody to reconnect elsewhere, or later."""
        self._stopping = True
        self.connections.begin_stop()

    async def stop(self) -> None:
        """Make everything accepted durable and give the database up."""
        self._stopping = True
        self._shard.timers.stop()
        if self._shard.committer.stalled_since is None:
            await self._shard.committer.flush()
        await self._shard.committer.close()

    def _maintain(self) -> None:
        """Do the store's upkeep and note how far recovery will have to look back."""
        shard = self._shard
        if self._stopping:
            return
        if shard.committer.stalled_since is None:
            seqs = [run.seq for run in shard.runs.values()]
            waiting = shard.backlog.low_seq()
            if waiting is not None:
                seqs.append(waiting)
            shard.committer.open.rows.low_seq = min(seqs, default=shard.submission.next_seq)
            shard.backlog.refill()  # commits do it, but nobody may be committing after a read has failed
            future = shard.committer.run(shard.store.maintain)
            future.add_done_callback(lambda done: done.cancelled() or done.exception())
        shard.timers.after(MAINTAIN_SECONDS, self._maintain, name="maintenance")

    @property
    def generation(self) -> int:
        """The generation the shard is owned under."""
        return self._shard.generation

    @property
    def metrics(self) -> Metrics:
        """The owner's counters."""
        return self._shard.metrics

    @property
    def agents(self) -> list[AgentSession]:
        """The agents whose lease has not lapsed."""
        return self._shard.agents

    @property
    def sessions(self) -> list[ClientSession]:
        """The sessions whose lease has not lapsed."""
        return list(self._shard.sessions.values())

    @property
    def stalled(self) -> bool:
        """Whether the database refuses commits at the moment."""
        return self._shard.committer.stalled_since is not None

    def open_count(self) -> int:
        """Return how many open runs are in memory."""
        return self._shard.open_count()

    def backlog_count(self) -> int:
        """Return how many queued runs are beyond the memory window."""
        return self._shard.backlog_count()

    def idle(self) -> bool:
        """Whether nobody is connected as a client and no run is open."""
        # Workers keep the sessions they once needed; only those of users' own processes count.
        busy = any(session.connected and not session.parent_run_id for session in self.sessions)
        return not (busy or self._shard.runs or self._shard.backlog_count())

    def state_of(self, run_id: bytes) -> LiveState | None:
        """Return what only the owner knows about an open run; None when it is not in memory."""
        return self._shard.state_of(run_id)

    async def cancel(self, run_id: bytes) -> int:
        """Request the end of a run; returns its state once the request is durable.

        Raises:
            RunNotFound: There is no such run.
        """
        return await self._shard.cancel(run_id)

    async def wait_ended(self, run_id: bytes) -> None:
        """Return when a run has ended.

        Raises:
            RunNotFound: There is no such run.
        """
        await self._shard.wait_ended(run_id)

    async def put_blob(self, digest: bytes, data: bytes) -> None:
        """Store a blob."""
        await self._shard.put_blob(digest, data)

    def drain_agent(self, agent_id: str) -> int:
        """Ask an agent to drain; returns how many runs it holds.

        Raises:
            AgentNotFound: No such agent is connected.
        """
        return self.connections.agents.drain(agent_id)

    async def submit_unowned(
        self, runs: Sequence[run_service_pb2.NewRun], blobs: Sequence[common_pb2.InlineBlob]
    ) -> list[session_service_pb2.RefusedRun]:
        """Record runs that belong to no session; returns those refused, once the others are durable.

        Raises:
            InvalidRequest, PayloadTooLarge, DigestMismatch: It is malformed; nothing was recorded.
            StorageFull: The database had no room; nothing was recorded.
        """
        shard = self._shard
        check_new_runs(runs, shard.max_inline_bytes)
        await check_blobs(blobs, self._max_payload)
        known = await self._known([new.run_id for new in runs])
        shard.submission.keep_blobs(blobs)
        commit = shard.committer.open
        # All of them before the first run is added: a malformed one must leave nothing behind.
        templates = [
            shard.templates.intern(new.template.SerializeToString(deterministic=True), commit.rows)
            for new in runs
        ]
        errors = {
            new.run_id: self._submit_one(new, template, known.get(new.run_id) or shard.runs.get(new.run_id))
            for new, template in zip(runs, templates, strict=True)
        }
        await shard.committer.durable()
        if commit.refused is not None:
            raise commit.refused
        if commit.duplicates:  # another call was faster
            known = await self._known([new.run_id for new in runs if new.run_id in commit.duplicates])
            errors |= {new.run_id: _conflict(new, known[new.run_id]) for new in runs if new.run_id in known}
        return [
            session_service_pb2.RefusedRun(run_id=run_id, error=to_detail(error), message=str(error))
            for run_id, error in errors.items()
            if error is not None
        ]

    async def _known(self, run_ids: list[bytes]) -> dict[bytes, StoredRun | Run]:
        """Return what there is of some runs that are not in memory."""
        shard = self._shard
        rows = await shard.stored.rows([run_id for run_id in run_ids if run_id not in shard.runs])
        return {row.run_id: row for row in rows}

    def _submit_one(
        self, new: run_service_pb2.NewRun, template: Template, existing: StoredRun | Run | None
    ) -> TaskyardError | None:
        if existing is not None:
            return _conflict(new, existing)
        shard = self._shard
        extra = session_service_pb2.RunExtra(name=new.name or template.name)
        if new.args.HasField("blob"):
            extra.args.CopyFrom(new.args.blob)
        shard.submission.add(
            None, template, None, new.run_id, new.args.data, 0,
            cache_key=new.cache_key or None,
            edges=[(edge.run_id, int(edge.kind)) for edge in new.upstream] or None,
            extra=extra,
        )  # fmt: skip
        return None


def _conflict(new: run_service_pb2.NewRun, existing: StoredRun | Run) -> TaskyardError | None:
    """Say why a run cannot be recorded beside one with the same id; None when it is the same run."""
    if (existing.args or b"") == new.args.data:
        return None  # a repeated call
    text = f"run {format_id(new.run_id)} was submitted before with other arguments"
    return RunExists(text, run_id=new.run_id)
