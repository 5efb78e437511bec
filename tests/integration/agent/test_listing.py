"""What a control plane knows of a real agent that is connected."""

import time
from pathlib import Path

import pytest
from support.plane_and_agent import plane_and_agent

from taskyard._network.server.calls import Client
from taskyard_agent.machine_memory import read_memory


def test_an_agent_tells_the_memory_of_its_machine(tmp_path: Path) -> None:
    memory = read_memory()
    if memory is None:
        pytest.skip("this system does not say how much memory it has")
    with plane_and_agent(tmp_path) as plane, Client(plane.address) as calls:
        deadline = time.monotonic() + 30
        while not (agent := next(calls.agents())).memory_total_bytes:
            assert time.monotonic() < deadline
        assert agent.memory_total_bytes == memory.total
        assert 0 < agent.memory_used_bytes < memory.total
        assert "code/reference" in agent.capabilities
