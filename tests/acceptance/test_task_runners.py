"""The processes of `ProcessPoolTaskRunner` end with their program, and where an interruption leaves them."""

import signal
from typing import Any

import pytest
from support.processes import is_alive
from support.programs import Stage, eventually

PROCESSES = """
import os, pathlib, time
from taskyard import flow, task
from taskyard.task_runners import ProcessPoolTaskRunner

@task
def waits(path):
    pathlib.Path(path).write_text(f"{{os.getpid()}} {{os.getppid()}}")
    time.sleep(600)

@flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
def waiting(path):
    waits.submit(path).result()

waiting({path!r})
"""


def agents(stage: Stage) -> Any:
    return [agent["name"] for agent in stage.document("agent", "ls")]


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_processes_of_a_program_that_is_ended_end_as_well(stage: Stage, number: signal.Signals):
    path = stage.home / "processes"
    program = stage.start_script(PROCESSES.format(path=str(path)))
    pids: list[int] = eventually(lambda: path.exists() and path.read_text().split(), "the task executes")
    worker, zygote = map(int, pids)
    assert is_alive(worker)
    program.end(number)
    eventually(lambda: not is_alive(worker), "the worker has ended")
    eventually(lambda: not is_alive(zygote), "what started it has ended")
    if number != signal.SIGKILL:  # after that nobody tells the control plane, which waits for its lease
        eventually(lambda: agents(stage) == ["local"], "only the yard's own agent is there")
