"""Everybody whose lease has not lapsed, connected or not."""

from collections.abc import Collection
from typing import Final

from taskyard_contract.errors import Overloaded
from taskyard_controlplane.domain.memory import DEFAULT_MEMORY, MemoryLimits
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.client_session import ClientSession, Windows
from taskyard_controlplane.owner.peers.kept_values import KeptValues
from taskyard_controlplane.owner.peers.log_marks import LogMarks
from taskyard_controlplane.owner.peers.peer import Caller, Peer
from taskyard_controlplane.owner.peers.program_worlds import ProgramWorlds

MAX_PEERS: Final = 8_192
"""Sessions, or agents, in all: some 10 KB each."""
MAX_PEERS_PER_HOST: Final = 2_048
"""The same from one address, so that nobody takes all of them. Those whose stream is gone count as long as
their lease."""
RETRY_SECONDS: Final = 5.0
"""When to come back."""


class Roster:
    """The sessions and agents of a shard, by the names they gave themselves."""

    def __init__(self, limits: MemoryLimits = DEFAULT_MEMORY) -> None:
        """Know nobody, as an owner that has just begun; sessions hold together what `limits` say."""
        self.windows = Windows(limits)
        self.most, self.most_per_host = MAX_PEERS, MAX_PEERS_PER_HOST
        self.log_marks = LogMarks()
        self.worlds = ProgramWorlds()
        self.kept_values = KeptValues()
        self.sessions: dict[bytes, ClientSession] = {}
        self.agents: dict[str, AgentSession] = {}

    def check_session(self, caller: Caller) -> None:
        """Check that there is room for one more session.

        Raises:
            Overloaded: There are too many, in all or from where it is called.
        """
        self._check("sessions", self.sessions.values(), caller)

    def check_agent(self, caller: Caller) -> None:
        """Check that there is room for one more agent.

        Raises:
            Overloaded: There are too many, in all or from where it is called.
        """
        self._check("agents", self.agents.values(), caller)

    def _check(self, what: str, peers: Collection[Peer], caller: Caller) -> None:
        if len(peers) < min(self.most, self.most_per_host):
            return
        if len(peers) >= self.most:
            limit, whence = self.most, ""
        elif sum(peer.caller.host == caller.host for peer in peers) >= self.most_per_host:
            limit, whence = self.most_per_host, f" from {caller.host}"
        else:
            return
        text = f"the control plane has {limit} {what}{whence} already, those included whose lease goes on"
        raise Overloaded(f"{text}; end some, or try again later", limit=limit, retry_after=RETRY_SECONDS)

    def session(self, session_id: bytes | None) -> ClientSession | None:
        """Return the session with an id; None when there is no id, or nobody has it any more."""
        return self.sessions.get(session_id) if session_id else None

    def new_session(self, session_id: bytes, name: str, caller_run_id: bytes, now: float) -> ClientSession:
        """Open a session; `now` is monotonic."""
        session = ClientSession(session_id, name, caller_run_id, now, self.windows)
        session.logs_received = session.logs_durable = self.log_marks.of(session_id)
        self.sessions[session_id] = session
        return session
