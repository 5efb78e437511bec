"""The agent's side of `AgentService.Connect`, for the agent and for SDK processes that serve their own runs.

`handler` is what executes, `session` the protocol without any I/O (with `pending`, `outbox`, `credit` and
`lease` inside), `stream` moves its frames over gRPC, `window` decides how much work to ask for. Invariant:
what ended is reported until the control plane acknowledges it.
"""

from taskyard_contract.agent_link.handler import Demand, Identity, LinkHandler
from taskyard_contract.agent_link.session import LinkSession
from taskyard_contract.agent_link.stream import AgentStream
from taskyard_contract.agent_link.window import WindowSizer

__all__ = ["AgentStream", "Demand", "Identity", "LinkHandler", "LinkSession", "WindowSizer"]
