"""What a run may cost. CPU time, not wall time: it hardly depends on what else the machine does."""

import signal
from pathlib import Path

import psutil
import pytest
from support.programs import Program, Stage

pytestmark = pytest.mark.slow

RUNS = 10_000
ALL_PROCESSES_US = 120
CONTROL_PLANE_US = 45

MAP = f"""
import time
from taskyard import flow, task

@task
def nothing(x):
    return x

@flow
def rounds():
    nothing.map(range({RUNS // 2})).result()
    print("ready", flush=True)
    time.sleep(0.5)  # while the test reads the clocks of the others
    before = time.process_time()
    assert nothing.map(range({RUNS})).result() == list(range({RUNS}))
    print(time.process_time() - before, flush=True)
    time.sleep(0.5)

rounds()
"""


RATE = f"""
import time
from taskyard import flow, task

@task
def nothing(x):
    return x

@flow
def rounds():
    nothing.map(range({RUNS // 2})).result()
    before = time.perf_counter()
    nothing.map(range({RUNS})).result()
    print({RUNS} / (time.perf_counter() - before), flush=True)

rounds()
"""
BUSY = """
import sys, threading
from taskyard_controlplane.cli import main

def spin():
    while True:
        pass

if {busy}:
    threading.Thread(target=spin, daemon=True).start()
sys.exit(main(["serve", "--listen", "127.0.0.1:0", "--database", "sqlite:///{database}"]))
"""


def cpu_seconds(program: Program) -> float:
    """Return the CPU time of a program and of everything it started."""
    process = psutil.Process(program.process.pid)
    family = [process, *process.children(recursive=True)]
    return sum(sum(member.cpu_times()[:2]) for member in family)


def test_a_run_stays_within_its_budget_of_cpu(stage: Stage, tmp_path: Path) -> None:
    server = stage.serve("--database", f"sqlite:///{tmp_path / 'budget.db'}")
    agent = stage.work("--slots", "2")
    client = stage.start_script(MAP)
    assert client.line() == "ready"
    before = {"server": cpu_seconds(server), "agent": cpu_seconds(agent)}
    spent = {"client": float(client.line())}
    spent |= {"server": cpu_seconds(server) - before["server"], "agent": cpu_seconds(agent) - before["agent"]}
    assert client.wait() == 0
    each = {name: seconds / RUNS * 1e6 for name, seconds in spent.items()}
    assert sum(each.values()) <= ALL_PROCESSES_US, each
    assert each["server"] <= CONTROL_PLANE_US, each


def test_a_busy_thread_in_the_control_plane_costs_its_share_and_no_more(stage: Stage, tmp_path: Path) -> None:
    """A statement of many rows waits for its turn once; row by row, each would wait for one."""

    def rate(busy: bool) -> float:
        server = stage.serve_script(BUSY.format(busy=busy, database=tmp_path / f"{busy}.db"))
        agent = stage.work("--slots", "2")
        client = stage.start_script(RATE)
        measured = float(client.line())
        assert client.wait() == 0
        agent.end()
        server.end(signal.SIGKILL)
        return measured

    quiet, beside_busy = rate(False), rate(True)
    assert beside_busy >= quiet / 8, f"{beside_busy:,.0f} instead of {quiet:,.0f} runs/s"
