"""Ready runs and agents' credit -> chunks of assigned runs.

A chunk holds runs of one template and one flow run, is executed by one worker in order and gets consecutive
epochs. Nothing here awaits or writes: dispatches are logged as one row a round, with whatever commit is next.
"""

from array import array
from collections import deque
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Final

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import common_pb2
from taskyard_contract.clock import Clock
from taskyard_contract.states import RunState
from taskyard_controlplane.domain.events import RunEvent
from taskyard_controlplane.domain.machine import transition
from taskyard_controlplane.domain.matching import Need
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.journal.committer import Committer
from taskyard_controlplane.owner.journal.templates import Templates
from taskyard_controlplane.owner.metrics import Metrics
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.queueing.matchmaking import Matchmaking
from taskyard_controlplane.owner.queueing.ready_queues import caller_of
from taskyard_controlplane.storage.interface import Store

CANCELLING: Final = int(RunState.CANCELLING)
DISPATCHED: Final = int(RunEvent.DISPATCHED)
MAX_BODY_BYTES: Final = 4 * 1024 * 1024
FEW_DISPATCHES: Final = 64
"""Rows that are kept although most of them may have no open runs."""


class Dispatcher:
    """Assigns ready runs to agents."""

    def __init__(
        self,
        store: Store,
        committer: Committer,
        templates: Templates,
        clock: Clock,
        metrics: Metrics,
        generation: int,
        number: int,
        undeliverable: Callable[[list[Run], BaseException], None],
    ) -> None:
        """Dispatch under a generation; `number` is the first free number of a dispatch row, and
        `undeliverable` is told which runs were assigned but could not be sent, and why.
        """
        self._store = store
        self._undeliverable = undeliverable
        self._committer = committer
        self._templates = templates
        self._clock = clock
        self._metrics = metrics
        self._epoch = generation << 32
        self._number = number
        self._open: deque[list[int]] = deque()  # [number, runs not yet reported]
        self._compact_at = FEW_DISPATCHES
        self.ready = Matchmaking()
        self.agents: list[AgentSession] = []

    def enqueue(self, run: Run) -> None:
        """Put a ready run into its queue, unless it never left it."""
        if not run.queued:
            run.queued = True
            self.ready.append(run)

    def waiting(self, need: Need, priority: int) -> int:
        """Return how many ready runs of a need and priority there are that no other run waits for."""
        return len(self.ready.queue_of(need).lane.runs(priority))

    def add(self, agent: AgentSession) -> None:
        """Let an agent take part."""
        if agent not in self.agents:
            self.agents.append(agent)
        self.ready.serve(agent)

    def remove(self, agent: AgentSession) -> None:
        """Leave an agent out."""
        if agent in self.agents:
            self.agents.remove(agent)
            self.ready.leave(agent)

    def pump(self) -> None:
        """Assign whatever can be assigned now, agents in turn, a chunk at a time."""
        hungry = [agent for agent in self.agents if agent.credit > 0]
        while hungry:
            hungry = [agent for agent in hungry if self._feed(agent)]
        # A different agent is first next time, so that short queues do not always go to the same one.
        if len(self.agents) > 1:
            self.agents.append(self.agents.pop(0))

    def _feed(self, agent: AgentSession) -> bool:
        """Assign one chunk; whether the agent could take more."""
        limit = min(agent.credit, max(1, agent.chunk_size))
        runs = self.ready.pop(agent, limit)
        if not runs:
            return False
        self._assign(agent, runs)
        return agent.credit > 0

    def _assign(self, agent: AgentSession, runs: list[Run]) -> None:
        first_epoch = self._epoch + 1
        self._epoch += len(runs)
        held, epoch = agent.held, first_epoch
        for run in runs:
            transition(run, DISPATCHED)
            run.epoch = epoch
            run.agent = agent
            held[run.run_id] = run
            epoch += 1
        agent.assigned += len(runs)
        self._metrics.assigned_runs += len(runs)
        self.record(agent, runs)
        template = runs[0].template
        index = agent.template_index(template, self._templates.code(template.code_digest))
        chunk = write_chunk(index, first_epoch, runs)
        if len(chunk.body) > MAX_BODY_BYTES:
            self._assign_by_blob(agent, chunk, runs)
        else:
            agent.assign(chunk)
            agent.wake()

    def _assign_by_blob(self, agent: AgentSession, chunk: pb.AssignChunk, runs: list[Run]) -> None:
        """Send a chunk whose upstream results do not fit into a frame."""
        body, store, stream = chunk.body, self._store, agent.close
        digest = sha256(body).digest()
        future = self._committer.run(lambda: store.put_blob(digest, body))
        chunk.body = b""
        chunk.body_blob.digest, chunk.body_blob.size = digest, len(body)

        def stored(_: object) -> None:
            error = future.exception()
            if agent.close is not stream:
                return  # on a new stream the agent restates what it holds, and this chunk is not among it
            if error is None:
                agent.assign(chunk)
                for run in runs:
                    if run.state == CANCELLING and run.agent is agent:
                        agent.cancel(run)
                agent.wake()
                return
            agent.assigned -= len(runs)  # the agent will not give back credit for what it never got
            epochs = enumerate(runs, chunk.first_epoch)
            self._undeliverable([run for epoch, run in epochs if run.epoch == epoch], error)

        future.add_done_callback(stored)

    def record(self, agent: AgentSession, runs: list[Run]) -> None:
        """Log that an agent holds some runs, each under its epoch."""
        entries = array("Q")
        entry = [self._number, len(runs)]
        for run in runs:
            entries.append(run.seq)
            entries.append(run.epoch)
            run.dispatch = entry
        self._open.append(entry)
        self._number += 1
        # The row rides on the next commit, normally that of the reports: a restart in between finds the
        # runs ready and assigns them again under a higher epoch, which makes the first execution's report
        # stale. Nothing is lost or counted twice, and no dispatch waits for a disk.
        self._committer.open.rows.dispatches.append(
            (entry[0], agent.agent_id, agent.session_id, self._clock.now_us(), entries.tobytes())
        )
        self._committer.take_along()

    def forget(self) -> int | None:
        """Return the number below which no dispatch row has open runs; None when nothing changed."""
        changed = False
        while self._open and self._open[0][1] <= 0:
            self._open.popleft()
            changed = True
        if len(self._open) >= self._compact_at:
            changed |= self._compact()
        if not changed:
            return None
        return self._open[0][0] if self._open else self._number

    def _compact(self) -> bool:
        """Log what is held again if most rows have no open runs: a long run must not keep all that follow."""
        ended = sum(remaining <= 0 for _, remaining in self._open)
        compact = ended * 2 >= len(self._open)
        if compact:
            self._open.clear()
            for agent in self.agents:
                held = [run for run in agent.held.values() if run.dispatch is not None]
                if held:
                    self.record(agent, held)
        self._compact_at = max(FEW_DISPATCHES, 2 * len(self._open))
        return compact


def write_chunk(template_index: int, first_epoch: int, runs: list[Run]) -> pb.AssignChunk:
    """Write the assignment of some runs."""
    body = pb.ChunkBody(args=[run.args or b"" for run in runs], ordinals=[run.ordinal for run in runs])
    chunk = pb.AssignChunk(
        first_epoch=first_epoch,
        template=template_index,
        run_ids=b"".join([run.run_id for run in runs]),
        nested=bool(caller_of(runs[0])),
    )
    flow = runs[0].flow
    if flow is not None:
        body.flow_run_id = flow.run_id
        body.flow_run_name = flow.shown_name
    for position, run in enumerate(runs):
        if run.inputs is not None:
            _write_inputs(chunk, body, position, run.inputs)
        if run.attempt > 1 or run.cache_key is not None or run.name or run.parent_id or run.args_blob:
            _write_extra(chunk, body, position, run)
    chunk.body = body.SerializeToString()
    return chunk


def _write_inputs(
    chunk: pb.AssignChunk,
    body: pb.ChunkBody,
    position: int,
    inputs: Iterable[tuple[bytes, bytes | None, bytes | None]],
) -> None:
    for upstream_id, result, outcome in inputs:
        body.input_positions.append(position)
        body.input_ids.append(upstream_id)
        body.inputs.append(result or b"")
        if outcome is not None:
            other = body.others.add()
            other.MergeFromString(outcome)
            # A result taken from the cache, or a shared one, names the run it came from.
            other.run_id = upstream_id
            if other.result.HasField("blob"):
                chunk.blobs.append(other.result.blob)


def _write_extra(chunk: pb.AssignChunk, body: pb.ChunkBody, position: int, run: Run) -> None:
    extra = body.extras.add(
        position=position,
        attempt=run.attempt,
        cache_key_decided=run.cache_decided,
        cache_key=run.cache_key or "",
        name=run.name or "",
        parent_run_id=run.parent_id or b"",
    )
    if run.args_blob is not None:
        blob = common_pb2.BlobRef.FromString(run.args_blob)
        extra.args.CopyFrom(blob)
        chunk.blobs.append(blob)
