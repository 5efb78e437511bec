"""Ctrl-C in a terminal: the signal that all processes of the foreground get at the same moment."""

import os
import re
import signal
from pathlib import Path

from support.programs import Program, Stage, eventually

WAITING = """
import pathlib, time
from taskyard import flow, task

@task
def waits(path):
    while not pathlib.Path(path).exists():
        time.sleep(0.05)
    return "done"

@flow
def waiting(path):
    return waits.submit(path).result()

print(waiting({path!r}))
"""
LOADED = """
import pathlib, time
from taskyard import task

while pathlib.Path({path!r}).exists():
    time.sleep(0.05)

@task
def one():
    return 1
"""
LOADING = """
import pathlib
from loaded import one
from taskyard import flow

@flow
def loading():
    pathlib.Path({path!r}).touch()
    return one.submit().result()

print(loading())
"""
THREADS = """
from taskyard import flow, task
from taskyard.task_runners import ThreadPoolTaskRunner

@task
def add(x, y):
    return x + y

@flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
def sums():
    return add.map([1, 2, 3], 10).result()

print(sums())
"""


def ctrl_c(program: Program) -> None:
    """Do what a terminal does."""
    os.killpg(program.process.pid, signal.SIGINT)


def begun(stage: Stage) -> tuple[Program, Path]:
    """Start a program of which a task executes until a file is there."""
    path = stage.home / "go on"
    program = stage.start_script(WAITING.format(path=str(path)))
    running = ("run", "ls", "--kind", "task", "--state", "running")
    eventually(lambda: stage.document(*running), "the task executes")
    return program, path


def test_one_ctrl_c_lets_what_runs_in_dev_end(stage: Stage):
    yard = stage.start("dev", "--slots", "1")
    yard.line()
    program, path = begun(stage)
    ctrl_c(yard)
    eventually(lambda: "draining" in yard.log, "the agent drains")
    path.touch()
    assert program.line() == "done"
    assert yard.wait() == 0
    assert "taskyard yard ends: what is running has 30 seconds, Ctrl-C once more ends it at once" in yard.log
    assert yard.log.count("draining") == 1
    assert "second signal: " not in yard.log
    assert "Traceback" not in yard.log


def test_a_second_ctrl_c_ends_dev_at_once(stage: Stage):
    yard = stage.start("dev", "--slots", "1")
    yard.line()
    program, _ = begun(stage)
    program.close()  # or it would start a yard of its own, and finish there
    ctrl_c(yard)
    eventually(lambda: "draining" in yard.log, "the agent drains")
    ctrl_c(yard)
    assert yard.wait(20) == 0, "the task, which does not end, would have 30 seconds"
    assert yard.log.count("second signal: leaving at once") == 1
    assert "Traceback" not in yard.log


def test_one_ctrl_c_lets_what_an_agent_runs_end(stage: Stage):
    server = stage.serve("--database", "sqlite://")
    agent = stage.work("--slots", "1")
    program, path = begun(stage)
    ctrl_c(agent)
    eventually(lambda: "draining" in agent.log, "the agent drains")
    path.touch()
    assert program.line() == "done"
    assert agent.wait() == 0
    assert "second signal: " not in agent.log
    ctrl_c(server)
    assert server.wait() == 0
    assert "Traceback" not in server.log + agent.log


def test_a_run_whose_code_is_being_loaded_is_not_given_back(stage: Stage, tmp_path: Path):
    """The server has heard that it executes, and would wait for its end for ever."""
    stage.serve("--database", "sqlite://")
    agent = stage.work("--slots", "1")
    path = tmp_path / "loads slowly"
    (tmp_path / "loaded.py").write_text(LOADED.format(path=str(path)))
    (tmp_path / "main.py").write_text(LOADING.format(path=str(path)))
    program = stage.start_file(tmp_path / "main.py")
    running = ("run", "ls", "--kind", "task", "--state", "running")
    eventually(lambda: stage.document(*running), "the server hears that it executes")
    ctrl_c(agent)
    eventually(lambda: "draining" in agent.log, "the agent drains")
    path.unlink()
    assert program.line() == "1"
    assert agent.wait() == 0


def test_ctrl_c_before_the_yard_serves_is_an_interruption(stage: Stage):
    yard = stage.start("dev", "--slots", "1")
    eventually(lambda: (stage.home / "yard.pid").exists(), "the yard starts")
    ctrl_c(yard)
    assert yard.wait() in (0, 130), "it may serve by now"
    assert "Traceback" not in yard.log
    (stage.home / "yard.pid").unlink(missing_ok=True)  # left behind, or the stage would end that process


def test_the_log_of_a_yard_is_quiet_and_every_line_says_when(stage: Stage):
    assert stage.run_script(THREADS).stdout == "[11, 12, 13]\n"

    def only_the_agent_of_the_yard() -> bool:
        return [agent["name"] for agent in stage.document("agent", "ls")] == ["local"]

    # The threads of a program that has ended in order are no agent any more: nobody will miss them.
    eventually(only_the_agent_of_the_yard, "the program's threads have left", seconds=10)
    log = (stage.home / "yard.log").read_text()
    assert [
        line
        for line in log.splitlines()
        if not re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ ", line)
    ] == []
    assert " WARNING " not in log
    assert "taskyard yard ready on " in log
    assert "taskyard agent ready: local" in log


def test_the_agent_of_a_run_is_known_when_both_have_gone(stage: Stage):
    database = f"sqlite:///{stage.home}/server.db"
    server = stage.serve("--database", database)
    agent = stage.work("--name", "anvil")
    stage.run_script(THREADS.replace("task_runner=ThreadPoolTaskRunner(max_workers=2)", ""))
    assert agent.end() == 0
    assert server.end() == 0
    stage.serve("--database", database)
    runs = stage.document("run", "ls", "--kind", "task")
    assert [run["agent"] for run in runs] == ["anvil"] * 3
    assert "agent        anvil" in stage.call("run", "show", "add-0").stdout


def test_an_address_that_is_none_is_wrong_usage(stage: Stage):
    for wrong in (("--listen", "nonsense:abc"), ("--listen", "127.0.0.1:0", "--http", "nonsense:abc")):
        refused = stage.call("server", "start", "--database", "sqlite://", *wrong)
        assert refused.returncode == 2
        assert "'nonsense:abc' is not a" in refused.stderr
