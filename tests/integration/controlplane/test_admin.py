"""AdminService: what operators see and do."""

from typing import Any

import grpc
import pytest

from taskyard_api.v1 import admin_service_pb2 as pb
from taskyard_contract.errors import AgentNotFound, InvalidRequest
from taskyard_contract.states import AgentState
from taskyard_contract.transport.rpc_errors import from_rpc_error
from taskyard_contract.versions import PROTOCOL_MAX, VERSION


def test_the_server_describes_itself(served: Any, agent: Any) -> None:
    served.submit(3)
    info = served.admin.GetServerInfo(pb.GetServerInfoRequest(), timeout=10)
    assert (info.version, info.protocol_max, info.database) == (VERSION, PROTOCOL_MAX, "sqlite")
    assert (info.open_runs, info.agents, info.sessions, info.generation) == (3, 1, 0, 1)
    assert info.started_us > 0


def test_an_agent_is_listed_with_what_it_holds(served: Any, agent: Any) -> None:
    served.submit(2)
    agent.take(2)
    [listed] = served.admin.ListAgents(pb.ListAgentsRequest(), timeout=10).agents
    assert (listed.agent_id, listed.name, listed.state) == ("id-small", "small", AgentState.ONLINE)
    assert (list(listed.queues), listed.slots, listed.held_runs) == (["default"], 2, 2)
    assert (listed.version, dict(listed.labels)) == ("1.2.3", {"zone": "a"})
    assert listed.connected_us <= listed.last_seen_us


def test_agents_are_listed_in_pages(served: Any, agent: Any) -> None:
    others = [type(agent)(served, f"other-{number}") for number in range(2)]
    seen, token = [], ""
    for size in (2, 1):
        page = served.admin.ListAgents(pb.ListAgentsRequest(page_size=2, page_token=token), timeout=10)
        assert len(page.agents) == size
        seen += [listed.name for listed in page.agents]
        token = page.next_page_token
    assert (seen, token) == (["other-0", "other-1", "small"], "")
    for other in others:
        other.close()


def test_a_drained_agent_is_told_and_shown(served: Any, agent: Any) -> None:
    served.submit()
    agent.take(1)
    assert served.admin.DrainAgent(pb.DrainAgentRequest(agent_id="id-small"), timeout=10).held_runs == 1
    while not next(agent.frames).drain:
        continue
    [listed] = served.admin.ListAgents(pb.ListAgentsRequest(), timeout=10).agents
    assert listed.state == AgentState.DRAINING


@pytest.mark.parametrize(("agent_id", "kind"), [("nobody", AgentNotFound), ("", InvalidRequest)])
def test_draining_nobody_is_refused(served: Any, agent_id: str, kind: type) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        served.admin.DrainAgent(pb.DrainAgentRequest(agent_id=agent_id), timeout=10)
    assert type(from_rpc_error(caught.value)) is kind
