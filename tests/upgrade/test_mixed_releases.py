"""The last release speaks an older protocol: whoever meets the other one is told so, at once, and stops.

Nothing half works: a program, an agent or a server of the wrong release changes nothing, and what was
recorded goes on when all of an installation is of one release again.
"""

import signal
import socket
from pathlib import Path

import pytest
from support.programs import Program, Stage, eventually

PROGRAMS = Path(__file__).parent / "programs"
RELEASES = ["former", "present"]
WHY = "speaks protocol versions"


def other(release: str) -> str:
    """Return the release that meets this one."""
    return RELEASES[1 - RELEASES.index(release)]


def serve(stages: dict[str, Stage], server: str) -> Program:
    """Start a server of one release, and let the programs of both talk to it."""
    served = stages[server].serve("--database", f"sqlite:///{stages[server].home}/runs.db")
    for stage in stages.values():
        stage.environment["TASKYARD_SERVER"] = stages[server].environment["TASKYARD_SERVER"]
    return served


@pytest.fixture(params=RELEASES)
def server(request: pytest.FixtureRequest, former: Stage, present: Stage) -> tuple[str, dict[str, Stage]]:
    """A server of one release, beside the programs of both."""
    stages = {"former": former, "present": present}
    serve(stages, request.param)
    return request.param, stages


def test_a_program_of_another_release_is_told_which_side_to_upgrade(server: tuple[str, dict[str, Stage]]):
    release, stages = server
    done = stages[other(release)].run_file(PROGRAMS / "simple.py", seconds=30.0)
    assert done.returncode == 1
    assert WHY in done.stderr
    assert "upgrade the older one" in done.stderr
    assert stages[release].document("run", "ls") == []


def test_an_agent_of_another_release_is_told_which_side_to_upgrade(server: tuple[str, dict[str, Stage]]):
    release, stages = server
    agent = stages[other(release)].start("agent", "start", "--slots", "2")
    assert agent.wait(30.0) != 0
    assert WHY in agent.log
    assert stages[release].document("agent", "ls") == []


@pytest.fixture
def address() -> str:
    """An address that servers can have one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_a_server_that_is_replaced_by_this_release_ends_the_programs_of_the_last_one(
    former: Stage, present: Stage, address: str, number: signal.Signals
):
    database = f"sqlite:///{former.home}/runs.db"
    server = former.serve("--database", database, listen=address)
    worker = former.work("--slots", "2")
    end = former.home / "end"
    program = former.start_file(PROGRAMS / "long_running.py", str(end))
    assert program.line() == "submitted"
    started = Path(f"{end}.started")
    eventually(lambda: started.exists() and started.read_text().count("\n") == 2, "two runs execute")

    server.end(number)
    present.serve("--database", database, listen=address)
    assert worker.wait(60.0) != 0
    assert program.wait(60.0) != 0
    assert WHY in worker.log
    assert WHY in program.log
    runs = eventually(
        lambda: [run for run in present.document("run", "ls") if run["state"] == "CANCELLED"] or None,
        "what the program had queued ends with it",
        seconds=90.0,
    )
    assert len(runs) >= 1
