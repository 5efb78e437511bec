"""The local yard: `taskyard dev` in the foreground, or started by the first program that needs it."""

import os
import signal

import pytest
from support.programs import Stage, eventually

ADD = """
from taskyard import flow, task

@task
def add(x, y):
    return x + y

@flow(name="sums")
def sums():
    return add.map([1, 2, 3], 10).result()

print(sums())
"""


def test_dev_serves_programs_and_ends_in_order(stage: Stage):
    yard = stage.start("dev", "--slots", "1")
    line = yard.line()
    assert line.startswith(f"taskyard yard ready on unix:{stage.home}/yard.sock; ")
    done = stage.run_script(ADD)
    assert done.stdout == "[11, 12, 13]\n", done.stderr
    runs = stage.document("run", "ls")
    assert [run["name"] for run in runs if run["kind"] == "task"] == ["add-2", "add-1", "add-0"]
    assert {run["state"] for run in runs} == {"COMPLETED"}
    (agent,) = stage.document("agent", "ls")
    assert agent["slots"] == 1
    assert yard.end(signal.SIGINT) == 0
    assert not (stage.home / "yard.pid").exists()


def test_a_home_has_one_yard(stage: Stage):
    first = stage.start("dev", "--slots", "1")
    first.line()
    second = stage.start("dev", "--slots", "1")
    assert second.wait() == 4
    assert f"another yard serves {stage.home}" in second.log
    assert first.end() == 0


def test_the_yard_dies_with_dev(stage: Stage):
    yard = stage.start("dev", "--slots", "1")
    yard.line()
    yard.end(signal.SIGKILL)
    eventually(lambda: not (stage.home / "yard.pid").exists(), "the yard ends")


def test_a_program_starts_the_yard_and_leaves_it_to_the_next(stage: Stage):
    assert stage.run_script(ADD).stdout == "[11, 12, 13]\n"
    pid = int((stage.home / "yard.pid").read_text())
    assert stage.run_script(ADD).stdout == "[11, 12, 13]\n"
    assert int((stage.home / "yard.pid").read_text()) == pid
    flows = stage.document("run", "ls", "--kind", "flow")
    assert [run["task_name"] for run in flows] == ["sums", "sums"]


def test_runs_survive_the_yard(stage: Stage):
    stage.run_script(ADD)
    pid_file = stage.home / "yard.pid"
    killed = int(pid_file.read_text())
    os.kill(killed, signal.SIGKILL)
    assert len(stage.document("run", "ls", "--kind", "flow")) == 1, "to look at runs starts a yard, too"
    assert int(pid_file.read_text()) != killed
    assert stage.run_script(ADD).stdout == "[11, 12, 13]\n"
    assert len(stage.document("run", "ls", "--kind", "flow")) == 2


@pytest.mark.parametrize("arguments", [("run", "ls"), ("run", "show", "add-1"), ("agent", "ls")])
def test_without_a_yard_commands_say_so(stage: Stage, arguments: tuple[str, ...]):
    done = stage.call(*arguments)
    assert done.returncode == 3
    assert "taskyard dev" in done.stderr
    assert "Traceback" not in done.stderr
