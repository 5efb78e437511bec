"""Everybody whose lease has not lapsed, connected or not."""

from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.client_session import ClientSession


class Roster:
    """The sessions and agents of a shard, by the names they gave themselves."""

    def __init__(self) -> None:
        """Know nobody, as an owner that has just begun."""
        self.sessions: dict[bytes, ClientSession] = {}
        self.agents: dict[str, AgentSession] = {}

    def session(self, session_id: bytes | None) -> ClientSession | None:
        """Return the session with an id; None when there is no id, or nobody has it any more."""
        return self.sessions.get(session_id) if session_id else None
