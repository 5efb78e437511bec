from support.fake_services import START_US

from taskyard_api.v1 import admin_service_pb2 as admin
from taskyard_contract.states import AgentState


def agent(number: int, **fields) -> admin.Agent:
    usual = {
        "agent_id": f"id-{number}",
        "name": f"agent-{number}",
        "state": AgentState.ONLINE,
        "queues": ["default", "gpu"],
        "slots": 2,
        "held_runs": 7,
        "last_seen_us": START_US,
        "version": "0.1.0",
        "labels": {"zone": "a", "disk": "fast"},
    }
    return admin.Agent(**{**usual, **fields})


def test_agents_of_all_pages_are_listed(services, call):
    services.agents = [agent(number) for number in range(5)]
    heading, *lines = call("agent", "ls").lines
    assert heading.split() == [
        "NAME",
        "STATE",
        "SLOTS",
        "HOLDS",
        "MEMORY",
        "LAST",
        "SEEN",
        "VERSION",
        "PYTHON",
        "QUEUES",
        "LABELS",
        "CONDITION",
    ]
    assert [line.split()[0] for line in lines] == [f"agent-{number}" for number in range(5)]
    assert lines[0].split()[1:4] == ["Online", "2", "7"]
    assert lines[0].endswith("default, gpu  disk=fast, zone=a")


def test_the_same_as_json(services, call):
    services.agents = [agent(1, state=AgentState.DRAINING)]
    (document,) = call("agent", "ls", "--json").document
    assert document["state"] == "DRAINING"
    assert document["labels"] == {"zone": "a", "disk": "fast"}
    assert document["connected"] is None
    assert (document["memory_used_bytes"], document["memory_total_bytes"]) == (None, None)


def test_memory_is_told_in_gibibytes(services, call):
    services.agents = [agent(1, memory_used_bytes=3 << 29, memory_total_bytes=16 << 30, capabilities=["x/y"])]
    assert "7      1.5/16.0 GiB  " in call("agent", "ls").lines[1]
    (document,) = call("agent", "ls", "--json").document
    assert (document["memory_used_bytes"], document["memory_total_bytes"]) == (3 << 29, 16 << 30)
    assert document["capabilities"] == ["x/y"]


def test_the_pythons_of_agents_are_told(services, call):
    words = ["code/blob", "interpreter/python3.11", "interpreter/python3.12"]
    services.agents = [agent(1, capabilities=words)]
    assert "0.1.0    3.11, 3.12  default, gpu" in call("agent", "ls").lines[1]


def test_no_agents_say_how_to_start_one(call):
    called = call("agent", "ls")
    assert called.code == 0
    assert "taskyard agent start" in called.out


def test_an_agent_says_why_it_takes_nothing(services, call):
    services.agents = [agent(1, condition="no room on the disk")]
    assert call("agent", "ls").lines[1].endswith("no room on the disk")
    (document,) = call("agent", "ls", "--json").document
    assert document["condition"] == "no room on the disk"
