"""The agent's side of `AgentService.Connect`, for the agent and for SDK processes that serve their own runs.

`session` is the protocol without any I/O, `stream` moves its frames over gRPC, `window` decides how much
work to ask for. Invariant: what ended is reported until the control plane acknowledges it.
"""

from taskyard_contract.agent_link.session import Identity, LinkHandler, LinkSession
from taskyard_contract.agent_link.stream import AgentStream
from taskyard_contract.agent_link.window import WindowSizer

__all__ = ["AgentStream", "Identity", "LinkHandler", "LinkSession", "WindowSizer"]
