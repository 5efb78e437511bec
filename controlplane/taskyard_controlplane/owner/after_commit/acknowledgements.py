"""Acknowledgements ride on the next frame, or go alone after a short while or when several have gathered.

One frame for each would cost 0.2 ms and 250 us of CPU per round trip, and nobody waits for one: a client or
an agent keeps what it sent until it is acknowledged, but does not stand still for it.
"""

from collections.abc import Mapping
from typing import Final

from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.client_session import ClientSession
from taskyard_controlplane.owner.peers.log_marks import LogMarks
from taskyard_controlplane.owner.peers.peer import Peer
from taskyard_controlplane.owner.timers import Timers

ACK_DELAY: Final = 0.02
"""For how long one waits for a frame to ride on, in seconds: far less than the lease, far more than the time
in which results of the next commit would make a frame anyway."""
ACKS_AT_ONCE: Final = 3
"""So many unsaid ones make a frame of their own: a client may have only a few batches unacknowledged, and
must not come to stand still because results are slow."""


class Acknowledgements:
    """Says what is durable, in time."""

    def __init__(self, timers: Timers, log_marks: LogMarks) -> None:
        """Say late what nothing took along, when `timers` tell; `log_marks` are to be kept up to date."""
        self._log_marks = log_marks
        self._timers = timers
        # A set in order, so that who is told first does not depend on addresses of objects.
        self._late: dict[Peer, None] = {}

    def accepted(self, numbers: Mapping[ClientSession, tuple[int, int]]) -> list[ClientSession]:
        """Acknowledge batches of clients, with the streams they came on; returns those to be told at once."""
        now = []
        for session, (number, stream) in numbers.items():
            session.settle_batches(number, stream)
            if session.unsaid >= ACKS_AT_ONCE:
                now.append(session)
            else:
                self._soon(session)
        return now

    def reported(self, numbers: Mapping[AgentSession, int]) -> None:
        """Acknowledge reports of agents; never at once, since an agent works on without the answer."""
        for agent, number in numbers.items():
            agent.acknowledge(number)
            self._soon(agent)

    def logged(self, numbers: Mapping[AgentSession | ClientSession, int]) -> None:
        """Acknowledge log records; those of agents are acknowledged as reports."""
        for peer, number in numbers.items():
            self._log_marks.note(peer.session_id, number)
            if isinstance(peer, ClientSession):
                peer.logs_durable = max(peer.logs_durable, number)
                self._soon(peer)

    def _soon(self, peer: Peer) -> None:
        if not self._late:
            self._timers.after(ACK_DELAY, self._send, name="acknowledgements")
        self._late[peer] = None

    def _send(self) -> None:
        late, self._late = self._late, {}
        for peer in late:
            peer.wake()
