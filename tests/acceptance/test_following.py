"""Runs and logs that are followed from a command line, while the server is stopped and started again."""

import os
import queue
import signal
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest
from support.programs import Program, Stage, eventually

CHATTY = """
import pathlib, sys, time
from taskyard import flow, get_run_logger, task

@task(tags={"nightly"})
def step(number):
    get_run_logger().info("step %d begins", number)
    while not (HOME / f"go-{number}").exists():
        time.sleep(0.02)
    get_run_logger().info("step %d ends", number)

@flow(name="chatty")
def chatty():
    for number in range(3):
        step.submit(number).result()

print("started", flush=True)
chatty()
"""


@pytest.fixture
def address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def _begin(stage: Stage, address: str) -> tuple[Program, Program, str]:
    """Start a server and a flow; returns both, and the id of the flow run."""
    server = stage.serve("--database", f"sqlite:///{stage.home}/server.db", listen=address)
    stage.work("--slots", "1")
    program = stage.start_script(CHATTY.replace("HOME", f"pathlib.Path({str(stage.home)!r})"))
    assert program.line() == "started"
    (flow,) = eventually(lambda: stage.document("run", "ls", "--kind", "flow"), "the flow run is there")
    return server, program, flow["id"]


def _let_go(stage: Stage, number: int) -> None:
    (stage.home / f"go-{number}").touch()


class Steps:
    """What a program prints of the steps, line by line, as it comes."""

    def __init__(self, program: Program) -> None:
        self._came: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, args=(program.process.stdout,), daemon=True).start()

    def _read(self, lines: Iterable[str]) -> None:
        for line in lines:
            place = line.find("step ")
            if place >= 0:
                self._came.put(line[place:].partition('"')[0].rstrip())
        self._came.put("")

    def next(self) -> str:
        """Return the next one, an empty one at the end."""
        return self._came.get(timeout=30)


def _is_connected(program: Program, address: str) -> bool:
    """Say whether a program has a connection to a server: only one that had one waits for its return."""
    own = set()
    for link in Path(f"/proc/{program.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            own.add(os.readlink(link))
    port = f":{int(address.rpartition(':')[2]):04X}"
    tables = (Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6"))
    lines = [line for table in tables for line in table.splitlines()[1:]]
    return any(
        remote.endswith(port) and state == "01" and f"socket:[{inode}]" in own
        for _, _, remote, state, *_, inode in (line.split()[:10] for line in lines)
    )


def test_a_log_and_a_run_are_followed_over_a_restart_of_the_server(stage: Stage, address: str):
    server, program, flow = _begin(stage, address)
    log = stage.start("run", "logs", flow, "--follow", "--json")
    waiting = stage.start("run", "show", flow, "--wait", "--json")
    steps = Steps(log)
    assert steps.next() == "step 0 begins"
    _let_go(stage, 0)
    assert [steps.next() for _ in range(2)] == ["step 0 ends", "step 1 begins"]
    eventually(lambda: _is_connected(waiting, address), "the program that waits is connected")
    server.end()
    _let_go(stage, 1)
    stage.serve("--database", f"sqlite:///{stage.home}/server.db", listen=address)
    assert [steps.next() for _ in range(2)] == ["step 1 ends", "step 2 begins"]
    _let_go(stage, 2)
    assert steps.next() == "step 2 ends"
    assert log.wait() == waiting.wait() == program.wait() == 0
    assert steps.next() == "", "every record once"
    assert log.log == ""
    assert waiting.log.splitlines()[0].endswith(" is Running")
    assert waiting.log.splitlines()[-1].endswith(" is Completed")


@pytest.mark.parametrize("command", [("logs", "-f"), ("show", "--wait")])
def test_ctrl_c_is_quiet(stage: Stage, address: str, command: tuple[str, str]):
    _, _, flow = _begin(stage, address)
    verb, option = command
    following = stage.start("run", verb, flow, option)
    if verb == "logs":
        assert Steps(following).next() == "step 0 begins"
    else:
        eventually(lambda: "is Running" in following.log, "it waits")
    told = following.log
    assert following.end(signal.SIGINT) == 130
    assert following.log == told, "no traceback, no word"


def test_runs_are_listed_and_counted_by_what_they_are(stage: Stage, address: str):
    _, program, flow = _begin(stage, address)
    for number in range(3):
        _let_go(stage, number)
    assert program.wait() == 0
    by_task = stage.document("run", "ls", "--task", "step", "--tag", "nightly", "--since", "1h", "--oldest")
    assert [run["task_name"] for run in by_task] == ["step"] * 3
    assert [run["submitted"] for run in by_task] == sorted(run["submitted"] for run in by_task)
    assert stage.document("run", "ls", "--tag", "weekly") == []
    assert stage.document("run", "ls", "--queue", "nobody") == []
    counted = stage.document("run", "ls", "--count", "--flow", flow)
    assert counted == {"states": {"Completed": 3}, "runs": 3, "searched_to": None}
    shown = stage.call("run", "show", flow, "--wait")
    assert (shown.returncode, shown.stderr) == (0, "")
