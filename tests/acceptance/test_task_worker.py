"""Programs that serve tasks: killed, stopped, late, beside agents and without any."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from support.programs import Program, Stage, eventually

JOBS = """
import os, sys, time
from pathlib import Path
from taskyard import task
from taskyard.task_worker import serve

FOLDER = Path(__file__).parent
WITHOUT_AGENTS = "background"

def note(text):
    (FOLDER / f"{text}.{os.getpid()}").touch()

@task(queue=WITHOUT_AGENTS, retries=1)
def held(name):
    note(f"begun-{name}")
    deadline = time.monotonic() + 60
    while not (FOLDER / "gate").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    note(f"done-{name}")

@task(queue=WITHOUT_AGENTS)
async def quick(name):
    note(f"done-{name}")
    return os.getpid()

@task
def anybody():
    return os.getpid()

if __name__ == "__main__":
    serve(held, quick, limit=int(sys.argv[1]))
"""
SHOP = """
import sys
import jobs

# No flow is around it, and nothing waits for what it submits.
for call in sys.argv[1:]:
    task, name = call.split("-")
    print(getattr(jobs, task).delay(name).task_run_id, flush=True)
"""
ASK = """
import sys
from taskyard.task_runs import wait_for_task_run

run = wait_for_task_run(sys.argv[1], timeout=60)
print(run.state.name, run.run_count)
"""


class Yard:
    """The programs of a small application."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage, self.folder = stage, folder
        for name, source in (("jobs", JOBS), ("shop", SHOP), ("ask", ASK)):
            (folder / f"{name}.py").write_text(source)

    def worker(self, limit: int = 10) -> Program:
        return self.stage.start_file(self.folder / "jobs.py", str(limit))

    def submit(self, *calls: str) -> list[str]:
        done = self.stage.run_file(self.folder / "shop.py", *calls)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    def ended(self, run_id: str) -> tuple[str, int]:
        """Wait until a run has ended; return how, and after how many attempts."""
        done = self.stage.run_file(self.folder / "ask.py", run_id)
        assert done.returncode == 0, done.stderr
        name, attempts = done.stdout.split()
        return name, int(attempts)

    def noted(self, text: str) -> set[int]:
        """Return the processes that noted something."""
        return {int(path.name.rpartition(".")[2]) for path in self.folder.glob(f"{text}.*")}

    def wait_for(self, text: str, without: set[int] = frozenset()) -> int:  # type: ignore[assignment]
        """Wait until another process than those has noted something; return it."""
        [process] = eventually(lambda: self.noted(text) - without, f"somebody notes {text}", 60)
        return int(process)

    def open_gate(self) -> None:
        (self.folder / "gate").touch()


@pytest.fixture
def yard(stage: Stage, tmp_path: Path) -> Yard:
    """With a server that notices within seconds who is gone."""
    stage.serve("--agent-lease", "2", "--session-lease", "2")
    return Yard(stage, tmp_path)


def draining(stage: Stage, process: int) -> bool:
    agents: list[dict[str, Any]] = stage.document("agent", "ls")
    return any("DRAINING" in each["state"] for each in agents if str(process) in each["name"])


def test_b17_the_runs_of_a_killed_worker_are_executed_by_another_one(yard: Yard) -> None:
    workers = [yard.worker(limit=1), yard.worker(limit=1)]
    runs = yard.submit("held-a", "held-b")
    processes = {yard.wait_for("begun-a"), yard.wait_for("begun-b")}
    assert len(processes) == 2  # each has what it executes, and no more
    first = yard.wait_for("begun-a")
    os.kill(first, signal.SIGKILL)
    yard.worker(limit=1)
    again = yard.wait_for("begun-a", without={first})
    yard.open_gate()
    assert [yard.ended(run) for run in runs] == [("Completed", 1)] * 2  # it counts as no attempt
    assert yard.noted("done-a") == {again}
    [killed] = [worker for worker in workers if worker.process.pid == first]
    assert killed.wait() == -signal.SIGKILL


def test_row_49_sigterm_stops_gracefully(yard: Yard) -> None:
    leaving = yard.worker(limit=1)
    runs = yard.submit("held-a", "quick-b")
    process = yard.wait_for("begun-a")
    leaving.process.send_signal(signal.SIGTERM)
    eventually(lambda: draining(yard.stage, process), "it takes nothing more")
    assert leaving.process.poll() is None  # it finishes what it executes
    yard.open_gate()
    assert leaving.wait() == 0
    assert yard.ended(runs[0]) == ("Completed", 1)
    assert yard.noted("done-a") == {process}
    assert yard.noted("done-b") == set()  # it waits, for a worker that comes later
    yard.worker()
    assert yard.ended(runs[1]) == ("Completed", 1)
    assert yard.noted("done-b") != {process}


@pytest.mark.slow
def test_a_second_signal_gives_to_others_what_executes(yard: Yard) -> None:
    leaving = yard.worker()
    [run] = yard.submit("held-a")
    process = yard.wait_for("begun-a")
    leaving.process.send_signal(signal.SIGINT)
    eventually(lambda: draining(yard.stage, process), "it takes nothing more")
    leaving.process.send_signal(signal.SIGINT)
    assert leaving.wait() == 0
    assert yard.noted("done-a") == set()
    yard.open_gate()
    yard.worker()
    assert yard.ended(run) == ("Completed", 1)


def test_b17_work_that_nobody_serves_waits_visibly(yard: Yard) -> None:
    yard.stage.work("--slots", "1", "--name", "ordinary")
    [run] = yard.submit("quick-a")
    shown = yard.stage.call("run", "show", run)
    assert "no agent serves queue 'background'" in shown.stdout
    process = yard.worker().process.pid
    assert yard.ended(run) == ("Completed", 1)
    assert yard.noted("done-a") == {process}


@pytest.mark.slow
def test_agents_execute_what_is_in_their_queues_without_any_worker(yard: Yard) -> None:
    yard.stage.work("--slots", "1", "--name", "ordinary", "--queue", "background")
    [run] = yard.submit("quick-a")
    assert yard.ended(run) == ("Completed", 1)


@pytest.mark.slow
def test_with_nothing_running_a_worker_starts_the_yard(stage: Stage, tmp_path: Path) -> None:
    yard = Yard(stage, tmp_path)
    worker = yard.worker()
    [run] = yard.submit("quick-a")
    assert yard.ended(run) == ("Completed", 1)
    assert yard.noted("done-a") == {worker.process.pid}
    assert worker.end() == 0
