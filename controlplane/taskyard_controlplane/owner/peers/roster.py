"""Everybody whose lease has not lapsed, connected or not."""

from taskyard_controlplane.domain.memory import DEFAULT_MEMORY, MemoryLimits
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.client_session import ClientSession, Windows


class Roster:
    """The sessions and agents of a shard, by the names they gave themselves."""

    def __init__(self, limits: MemoryLimits = DEFAULT_MEMORY) -> None:
        """Know nobody, as an owner that has just begun; sessions hold together what `limits` say."""
        self.windows = Windows(limits)
        self.sessions: dict[bytes, ClientSession] = {}
        self.agents: dict[str, AgentSession] = {}

    def session(self, session_id: bytes | None) -> ClientSession | None:
        """Return the session with an id; None when there is no id, or nobody has it any more."""
        return self.sessions.get(session_id) if session_id else None

    def new_session(self, session_id: bytes, name: str, caller_run_id: bytes, now: float) -> ClientSession:
        """Open a session; `now` is monotonic."""
        session = ClientSession(session_id, name, caller_run_id, now, self.windows)
        self.sessions[session_id] = session
        return session
