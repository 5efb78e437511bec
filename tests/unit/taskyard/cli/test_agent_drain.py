import pytest

from taskyard_api.v1 import admin_service_pb2 as admin


@pytest.fixture
def agents(services):
    names = [("id-1", "one"), ("id-2", "two"), ("id-3", "two")]
    services.agents = [admin.Agent(agent_id=agent_id, name=name) for agent_id, name in names]
    services.held_runs = 3


@pytest.mark.parametrize(("said", "agent_id"), [("one", "id-1"), ("id-1", "id-1"), ("id-3", "id-3")])
def test_an_agent_is_drained_by_name_or_id(agents, services, call, said, agent_id):
    called = call("agent", "drain", said, "--reason", "a new kernel")
    assert called.code == 0
    assert called.out.endswith(" drains, 3 runs to go\n")
    asked = services.asked[-1]
    assert (asked.agent_id, asked.reason) == (agent_id, "a new kernel")
    assert "@" in asked.requested_by


@pytest.mark.parametrize(("said", "told"), [("two", "2 agents"), ("three", "no agent")])
def test_another_name_is_1(agents, services, call, said, told):
    called = call("agent", "drain", said)
    assert called.code == 1
    assert told in called.err
    assert not services.asked
