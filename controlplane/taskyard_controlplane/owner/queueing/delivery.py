"""Chunks -> agents: in a frame, or through a blob when what they carry does not fit into one."""

from hashlib import sha256
from typing import Final

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.errors import StorageFull, StorageUnavailable
from taskyard_contract.states import RunState, StateReason
from taskyard_controlplane.domain.events import RunEvent
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.journal.committer import Committer
from taskyard_controlplane.owner.journal.stored_runs import REPEAT_SECONDS
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.rules.settling import Settling
from taskyard_controlplane.owner.timers import Timers
from taskyard_controlplane.storage.interface import Store

CANCELLING: Final = int(RunState.CANCELLING)
MAX_BODY_BYTES: Final = 4 * 1024 * 1024
"""A chunk whose body is larger goes through the blob store: messages end at 16 MiB, and a frame has more in
it than one chunk."""


class Delivery:
    """Sends chunks, and decides about runs that could not be sent."""

    def __init__(self, store: Store, committer: Committer, settling: Settling, timers: Timers) -> None:
        """Keep large bodies in `store`."""
        self._store = store
        self._committer = committer
        self._settling = settling
        self._timers = timers

    def send(self, agent: AgentSession, chunk: pb.AssignChunk, runs: list[Run]) -> None:
        """Send the chunk of some runs to the agent that holds them."""
        if len(chunk.body) > MAX_BODY_BYTES:
            self._send_by_blob(agent, chunk, runs)
        else:
            agent.assign(chunk)
            agent.wake()

    def _send_by_blob(self, agent: AgentSession, chunk: pb.AssignChunk, runs: list[Run]) -> None:
        body, stream = chunk.body, agent.close
        digest = sha256(body).digest()
        future = self._committer.run(lambda: self._store.put_blob(digest, body))
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
            self._not_sent([run for epoch, run in epochs if run.epoch == epoch], error)

        future.add_done_callback(stored)

    def _not_sent(self, runs: list[Run], error: BaseException) -> None:
        """Try again later when the database will get better, and fail what can never be sent."""
        if isinstance(error, StorageUnavailable | StorageFull):
            epochs = [(run, run.epoch) for run in runs]
            self._timers.after(REPEAT_SECONDS, lambda: self._give_back(epochs), name="give back")
            return
        message = f"the results of its upstream runs could not be sent: {error}"
        for run in runs:
            self._settling.apply(run, RunEvent.FAILED_FOR_GOOD, message=message)

    def _give_back(self, runs: list[tuple[Run, int]]) -> None:
        for run, epoch in runs:
            if run.epoch == epoch:
                self._settling.apply(run, RunEvent.GIVEN_BACK, reason=StateReason.GIVEN_BACK)
