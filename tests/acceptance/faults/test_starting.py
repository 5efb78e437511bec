"""Programs started in the wrong place: an exit code, a clear sentence, no harm to those who were there."""

import time
from pathlib import Path

import pytest
from support.processes import Installation, free_port, installation

pytestmark = pytest.mark.acceptance


def test_a_second_control_plane_on_one_database(lasting: Installation) -> None:
    with installation(lasting.folder / "second", lasting.database) as second:
        second.folder.mkdir()
        refused = second.spawn_server()
        assert second.exit_code(refused, 15) == 4, refused.describe()
    assert "taskyard.db" in refused.errors()
    assert len(refused.errors().splitlines()) <= 3, refused.errors()
    (told,) = lasting.succeeded(lasting.start_client("bad_input", "unpicklable-argument"), 30)
    assert told["after"] == "after"


def test_a_port_in_use(lasting: Installation, tmp_path: Path) -> None:
    with installation(tmp_path, f"sqlite:///{tmp_path / 'other.db'}") as second:
        second.address = lasting.address
        refused = second.spawn_server()
        assert second.exit_code(refused, 15) == 3, refused.describe()
    assert lasting.address in refused.errors()
    (told,) = lasting.succeeded(lasting.start_client("bad_input", "unpicklable-argument"), 30)
    assert told["after"] == "after"


def test_a_client_with_a_wrong_server_address(fresh: Installation) -> None:
    address = f"127.0.0.1:{free_port()}"
    client = fresh.start_client("bad_input", "unpicklable-argument", TASKYARD_SERVER=address)
    assert fresh.exit_code(client, 25) == 1
    last = client.errors().splitlines()[-1]
    assert "ConnectionFailed" in last
    assert address in last
    assert "taskyard server start" in last


def test_a_client_with_an_address_that_is_none(fresh: Installation) -> None:
    started = time.monotonic()
    client = fresh.start_client("bad_input", "unpicklable-argument", TASKYARD_SERVER="yard:nowhere")
    assert fresh.exit_code(client, 40) == 1
    assert time.monotonic() - started < 14, "not looked for, as an address where nobody listens is"
    assert "'yard:nowhere' is not a server address; give HOST:PORT" in client.errors()


def test_an_agent_waits_for_its_server(fresh: Installation) -> None:
    """An agent that is started first says so, and connects when the server is there."""
    agent = fresh.start("agent", "-m", "taskyard_agent", "--server", fresh.address, "--slots", "1")
    fresh.wait_for(lambda: fresh.address in agent.errors(), 15, "the agent says that nobody answers")
    assert agent.running
    fresh.start_server()
    fresh.wait_for(lambda: "taskyard agent ready" in agent.output(), 15, "the agent is connected")


@pytest.mark.chaos
def test_a_killed_control_plane_starts_again_at_once(fresh: Installation) -> None:
    """Closed connections of the dead process keep neither of its ports."""
    fresh.start_server()
    fresh.start_agent()
    assert fresh.metric("taskyard_agents") == 1
    fresh.kill_server()
    fresh.start_server()
    (told,) = fresh.succeeded(fresh.start_client("bad_input", "unpicklable-argument"), 30)
    assert told["after"] == "after"
