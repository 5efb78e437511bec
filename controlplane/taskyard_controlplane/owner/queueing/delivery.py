"""Chunks -> agents: at once when all they carry is in memory, else when it has been read.

A chunk with cache keys is sent only after the commit that records it: who computes a key must be known to
whoever owns the runs next, or that one would let another run compute it at the same time.

Payload that is only in the database is read for many runs at a time, up to `LOAD_BYTES`, and sent before the
next is read; and only for agents that take what they were sent before. So what is on its way to agents is
bounded, whatever they are assigned. A run with large inputs, or very many, gets them as a file, which is
written before its chunk is sent (`large_bodies`).
"""

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterator
from typing import Any, Final, NamedTuple

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.errors import StorageFull, StorageUnavailable
from taskyard_contract.states import RunState, StateReason
from taskyard_controlplane.domain.events import RunEvent
from taskyard_controlplane.domain.memory import MIB
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.journal.committer import Committer
from taskyard_controlplane.owner.journal.journal import Journal
from taskyard_controlplane.owner.journal.payload_ledger import PayloadLedger
from taskyard_controlplane.owner.journal.progress import ProgressOfRuns
from taskyard_controlplane.owner.journal.stored_runs import REPEAT_SECONDS
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.kept_values import KeptValues
from taskyard_controlplane.owner.peers.peer import Close
from taskyard_controlplane.owner.queueing.chunks import NOTHING_LOADED, parts_of, write_chunk
from taskyard_controlplane.owner.queueing.large_bodies import LargeBodies
from taskyard_controlplane.owner.rules.settling import Settling
from taskyard_controlplane.owner.timers import Timers
from taskyard_controlplane.storage.interface import Store, StoredPayloads

CANCELLING: Final = int(RunState.CANCELLING)
LOAD_BYTES: Final = 4 * MIB
"""What is read at a time: a frame full."""
UNSENT_BYTES: Final = 8 * MIB
"""What may wait for the stream of an agent before nothing more is read for it: one frame is written, and the
next one is ready."""


class Parcel(NamedTuple):
    """A chunk that cannot be sent yet."""

    agent: AgentSession
    stream: Close | None
    template_index: int
    first_epoch: int
    runs: list[Run]
    share: int
    """The number of the session whose turns they take."""

    @property
    def lapsed(self) -> bool:
        """Whether its agent has another stream by now, on which it restates what it holds: not this."""
        return self.agent.close is not self.stream

    def still_held(self) -> "list[Parcel]":
        """Return what is left of it without runs that have gone elsewhere, or ended, in the meantime: parts,
        because the epochs of a chunk are consecutive.
        """
        parts: list[Parcel] = []
        after = None
        for epoch, run in enumerate(self.runs, self.first_epoch):
            if run.epoch != epoch or run.agent is not self.agent:
                continue
            if epoch != after:
                parts.append(self._replace(first_epoch=epoch, runs=[]))
            parts[-1].runs.append(run)
            after = epoch + 1
        return parts

    @property
    def absent_bytes(self) -> int:
        """How much of it is only in the database."""
        return sum(run.absent_bytes for run in self.runs)


class Delivery:
    """Sends chunks, and decides about runs that could not be sent."""

    def __init__(
        self,
        store: Store,
        committer: Committer,
        journal: Journal,
        settling: Settling,
        timers: Timers,
        ledger: PayloadLedger,
        progress: ProgressOfRuns,
        kept_values: KeptValues,
    ) -> None:
        """Read from `store` what is not in memory; what is sent leaves the `ledger`.

        What agents have to fetch for it, they have from then on (`kept_values`). Next attempts are sent what
        the ones before them said last of their `progress`.
        """
        self._progress = progress
        self._kept_values = kept_values
        self._store = store
        self._committer = committer
        self._journal = journal
        self._settling = settling
        self._timers = timers
        self._ledger = ledger
        self.bodies = LargeBodies()
        """Files with what runs get from others, where that is much."""
        self._waiting: deque[Parcel] = deque()
        self._loading = False
        self._tasks: set[asyncio.Task[None]] = set()

    def send(
        self, agent: AgentSession, template_index: int, first_epoch: int, runs: list[Run], share: int
    ) -> None:
        """Send the chunk of some runs to the agent that holds them; that it does is in the open commit.

        They take the turns of the session with the number `share`.
        """
        for part in parts_of(runs, self._progress) if self._progress else (runs,):  # nearly always one
            self._send_after(Parcel(agent, agent.close, template_index, first_epoch, part, share))
            first_epoch += len(part)

    def _send_after(self, parcel: Parcel) -> None:
        """Send a chunk, after the commit if what is asked then needs it to be recorded."""
        if any(run.cache_key is not None for run in parcel.runs):
            self._journal.then(lambda: self._send_recorded(parcel))
        else:
            self._send(parcel)

    def _send(self, parcel: Parcel) -> None:
        agent, runs = parcel.agent, parcel.runs
        large = [run for run in runs if run.held_bytes or run.absent_bytes]
        if len(runs) == 1 and runs[0].has_large_inputs:
            self._in_background(self._send_described(parcel))
        elif large and (agent.unsent_bytes > UNSENT_BYTES or any(run.absent_bytes for run in large)):
            agent.on_room = self._load
            self._waiting.append(parcel)
            self._load()
        else:
            self._hand_over(agent, self._written(parcel))
            for run in large:
                self._ledger.put_away(run)
            agent.wake()

    def _hand_over(self, agent: AgentSession, chunk: pb.AssignChunk) -> None:
        if self._kept_values.any:
            self._kept_values.note(agent, chunk.blobs)
        agent.assign(chunk)

    def _written(
        self, parcel: Parcel, loaded: StoredPayloads = NOTHING_LOADED, *, with_inputs: bool = True
    ) -> pb.AssignChunk:
        return write_chunk(
            parcel.template_index,
            parcel.first_epoch,
            parcel.runs,
            loaded,
            with_inputs=with_inputs,
            progress=self._progress,
            share=parcel.share,
        )

    def _send_recorded(self, parcel: Parcel) -> None:
        if parcel.lapsed:
            return
        for part in _what_is_left(parcel):
            self._send(part)
            for run in part.runs:
                if run.state == CANCELLING:
                    part.agent.cancel(run)  # it was told so before it had it

    @property
    def waiting(self) -> int:
        """How many chunks wait for what they carry, or for room."""
        return len(self._waiting) + len(self._tasks)

    def waiting_runs(self) -> Iterator[Run]:
        """Iterate over the runs of chunks that wait for what they carry, or for room. For people who ask."""
        return (run for parcel in self._waiting for run in parcel.runs)

    # What is only in the database.

    def _load(self) -> None:
        """Read for as many chunks as memory should hold at a time, unless that is being done."""
        if self._loading or not self._waiting:
            return
        parcels = self._next_parcels()
        if not parcels:
            return
        self._loading = True
        runs = [run for parcel in parcels for run in parcel.runs if run.absent_bytes]
        seqs = [run.seq for run in runs if isinstance(run.args, int)]
        upstream_ids = {
            upstream_id
            for run in runs
            for upstream_id, result, outcome in run.inputs or ()
            if isinstance(result, int) or isinstance(outcome, int)
        }
        future = self._committer.run(lambda: self._store.payloads(seqs, list(upstream_ids)))
        future.add_done_callback(lambda done: self._loaded(parcels, done))

    def _next_parcels(self) -> list[Parcel]:
        taken: list[Parcel] = []
        later: deque[Parcel] = deque()
        size = 0
        while self._waiting and (not taken or size < LOAD_BYTES):
            parcel = self._waiting.popleft()
            if parcel.lapsed:
                continue
            if parcel.agent.unsent_bytes > UNSENT_BYTES:
                later.append(parcel)
                continue
            taken.append(parcel)
            size += parcel.absent_bytes
        self._waiting.extendleft(reversed(later))
        return taken

    def _loaded(self, parcels: list[Parcel], done: "asyncio.Future[StoredPayloads]") -> None:
        self._loading = False
        error = done.exception() if not done.cancelled() else StorageUnavailable("stopping")
        loaded = done.result() if error is None else NOTHING_LOADED
        for parcel in parcels:
            if not parcel.lapsed:
                self._send_loaded(parcel, loaded, error)
        self._load()

    def upkeep(self) -> None:
        """Forget what nobody waits for any more; commits and agents do it, but there may be neither."""
        self._waiting = deque(parcel for parcel in self._waiting if not parcel.lapsed)
        self.bodies.forget()
        self._load()

    def _send_loaded(self, parcel: Parcel, loaded: StoredPayloads, error: BaseException | None) -> None:
        if error is not None:
            self._not_sent(parcel, error)
            return
        for part in _what_is_left(parcel):
            try:
                chunk = self._written(part, loaded)
            except Exception as unwritable:
                self._not_sent(part, unwritable)
            else:
                self._assign(part, chunk)

    def _assign(self, parcel: Parcel, chunk: pb.AssignChunk) -> None:
        agent = parcel.agent
        self._hand_over(agent, chunk)
        for run in parcel.runs:
            if run.state == CANCELLING and run.agent is agent:
                agent.cancel(run)
            if run.held_bytes:
                self._ledger.put_away(run)
        agent.wake()

    # What is too large.

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_described(self, parcel: Parcel) -> None:
        """Send the chunk of a run with large inputs when its body is in the store."""
        [run] = parcel.runs
        try:
            loaded = NOTHING_LOADED
            if isinstance(run.args, int):
                loaded = await self._committer.run(lambda: self._store.payloads([run.seq], []))
            chunk = self._written(parcel, loaded, with_inputs=False)
            if not parcel.agent.own_session_id:  # a program that serves its own runs has all they get
                written = await self.bodies.add(run, chunk.body)
                chunk.body_blob.CopyFrom(written.body)
                chunk.blobs.extend(written.blobs)
                chunk.body_has_blobs = written.has_blobs
        except Exception as error:  # whatever it is: somebody waits for this run
            if not parcel.lapsed:
                self._not_sent(parcel, error)
            return
        if parcel.lapsed:
            return
        if not parcel.still_held():
            parcel.agent.charge(run.template, -1)
        else:
            self._assign(parcel, chunk)

    # What could not be sent.

    def _not_sent(self, parcel: Parcel, error: BaseException) -> None:
        """Try again later when the database will get better, and fail what can never be sent."""
        agent, runs = parcel.agent, parcel.runs
        agent.charge(
            runs[0].template, -len(runs)
        )  # the agent will not give back credit for what it never got
        epochs = [(run, epoch) for epoch, run in enumerate(runs, parcel.first_epoch) if run.epoch == epoch]
        if isinstance(error, StorageUnavailable | StorageFull):
            self._timers.after(REPEAT_SECONDS, lambda: self._give_back(epochs), name="give back")
            return
        message = f"the results of its upstream runs could not be sent: {error}"
        for run, _ in epochs:
            self._settling.apply(run, RunEvent.FAILED_FOR_GOOD, message=message)

    def _give_back(self, runs: list[tuple[Run, int]]) -> None:
        for run, epoch in runs:
            if run.epoch == epoch:
                self._settling.apply(run, RunEvent.GIVEN_BACK, reason=StateReason.GIVEN_BACK)


def _what_is_left(parcel: Parcel) -> list[Parcel]:
    """Return what is still to be sent of a chunk; its agent gets the credit for the rest back."""
    parts = parcel.still_held()
    left = len(parcel.runs) - sum(len(part.runs) for part in parts)
    parcel.agent.charge(parcel.runs[0].template, -left)
    return parts
