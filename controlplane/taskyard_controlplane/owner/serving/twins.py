"""Two processes under the name of one agent: which of them stays.

An agent that is restarted comes back under its name with another session, and shall take its place at once.
Two agents that were started under one name by mistake look the same from here, and would take each other's
runs away as often as they say hello. So the name stays with whoever is connected, and who comes later waits
or stops.
"""

from typing import Final

from taskyard_contract.errors import AgentExists
from taskyard_controlplane.owner.peers.agent_session import AgentSession

ASK_AGAIN_SECONDS: Final = 0.5
"""When a process may ask again for the name of an agent that is connected."""


def refusal(agent: AgentSession, session_id: bytes, now: float) -> AgentExists:
    """Return what to tell a process that says hello under the name of an agent that is connected.

    It may wait while that one drains, or may be gone without anybody having ended its connection yet, as when
    its machine went down. Who is alive speaks, with a heartbeat at least: so once the agent has said anything
    after it was first challenged, the other process has to stop.
    """
    if agent.challenge is None or agent.challenge[0] != session_id:
        agent.challenge = session_id, now
    where = f" from {agent.caller.address}" if agent.caller.address else ""
    who = f"another process is connected as agent '{agent.name}'{where}"
    if agent.draining or agent.last_seen <= agent.challenge[1]:
        until = "it has finished its runs" if agent.draining else "it turns out to be gone"
        return AgentExists(f"{who}; its place is free when {until}", retry_after=ASK_AGAIN_SECONDS)
    return AgentExists(f"{who}; stop that one, or give this one another name")
