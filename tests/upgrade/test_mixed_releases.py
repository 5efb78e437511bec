"""Programs of two releases understand each other, as they must while an installation is upgraded."""

import signal
import socket
from pathlib import Path

import pytest
from support.programs import Program, Stage, eventually

PROGRAMS = Path(__file__).parent / "programs"
RELEASES = ["former", "present"]
MIXED = [
    ("former", "present", "former"),
    ("former", "present", "present"),
    ("present", "former", "former"),
    ("present", "present", "former"),
]


def serve(stages: dict[str, Stage], server: str) -> Program:
    """Start a server of one release, and let the programs of both talk to it."""
    served = stages[server].serve("--database", f"sqlite:///{stages[server].home}/runs.db")
    for stage in stages.values():
        stage.environment["TASKYARD_SERVER"] = stages[server].environment["TASKYARD_SERVER"]
    return served


@pytest.mark.parametrize(("server", "agent", "client"), MIXED)
def test_a_flow_runs_whichever_releases_meet(
    former: Stage, present: Stage, server: str, agent: str, client: str
):
    stages = {"former": former, "present": present}
    served = serve(stages, server)
    worker = stages[agent].work("--slots", "2")
    done = stages[client].run_file(PROGRAMS / "simple.py")
    assert (done.returncode, done.stdout) == (7, "6.0 NotReady\n"), done.stderr + served.log + worker.log

    failure = stages[client].document("run", "show", "divide-1")["failure"]
    assert failure["type"] == "ZeroDivisionError"


@pytest.mark.parametrize("server", RELEASES)
def test_an_older_agent_says_what_it_lacks_for_code_of_a_newer_program(
    former: Stage, present: Stage, server: str
):
    # Code by value names modules of the release that made it, which an older one cannot have: agents first.
    stages = {"former": former, "present": present}
    serve(stages, server)
    former.work("--slots", "2")
    assert present.run_file(PROGRAMS / "simple.py").returncode == 1

    shown = present.document("run", "show", "divide-0")
    assert shown["state"] == "FAILED"
    assert shown["message"].startswith("the code of task 'divide' could not be loaded: No module named")


@pytest.fixture
def address() -> str:
    """An address that servers can have one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_a_server_is_replaced_under_runs_that_execute(
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
    successor = present.serve("--database", database, listen=address)
    end.touch()
    assert program.line() == str(sum(range(6))), program.log + worker.log + successor.log
    assert program.wait() == 0
    assert sorted(map(int, started.read_text().split())) == list(range(6))
    runs = present.document("run", "ls")
    assert {(run["state"], run["attempt"], run["infra_retries"]) for run in runs} == {("COMPLETED", 1, 0)}
