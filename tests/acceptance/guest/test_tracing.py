"""Debuggers, profilers and coverage see a program that uses Taskyard to its end."""

import re
import subprocess

import pytest
from support.programs import HERE, Stage

SUBMITTED = """
from taskyard import flow, task

@task
def one(n):
    return n

@flow
def small():
    return one.submit(1).result() + one(1)

print("RESULT", small())
"""
STOPPED = """
from taskyard import flow, task

@task
def one():
    return 1

@flow
def small():
    x = one()
    breakpoint()
    return x

print("RESULT", small())
"""
SPEED = """
import threading, time
from taskyard import flow, task
from taskyard.task_runners import ThreadPoolTaskRunner

@task(timeout_seconds=0.2)
def endless():
    while True:
        pass

@flow(task_runner=ThreadPoolTaskRunner)
def small():
    endless.submit(return_state=True)

def work():
    started = time.process_time()
    for _ in range(2_000_000):
        pass
    return time.process_time() - started

before = min(work() for _ in range(5))
small()
thread = threading.Thread(target=small)
thread.start()
thread.join()
print("RATIO", min(work() for _ in range(5)) / before)
"""


OWN_FAULTS = re.compile(
    r"Exception ignored in.*?profile\.py.*?AssertionError: \('Bad call'[^\n]*\n"
    r"|Traceback[^\n]*\n.*?trace\.py.*?RuntimeError: dictionary changed size during iteration",
    re.DOTALL,
)
"""What Python's `profile` says when an object goes while it counts, and `trace` when threads go on."""


def watched(yard: Stage, source: str, *arguments: str, typed: str = "") -> str:
    """Run a program under a tool of the standard library; what it printed."""
    script = yard.home / "watched.py"
    script.write_text(source)
    done = subprocess.run(
        [str(HERE / "python"), *arguments, str(script)],
        env=yard.environment,
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = OWN_FAULTS.sub("", done.stdout + done.stderr)
    assert "Traceback" not in said, said
    return done.stdout


@pytest.mark.parametrize(
    "tool",
    [
        ("-m", "pdb", "-c", "continue", "-c", "quit"),
        ("-m", "cProfile", "-o", "/dev/null"),
        ("-m", "profile", "-o", "/dev/null"),
        ("-m", "trace", "--count", "--summary"),
    ],
    ids=["pdb", "cProfile", "profile", "trace"],
)
def test_a_program_that_is_traced_ends(yard: Stage, runner: str, tool: tuple[str, ...]):
    more = ("--coverdir", str(yard.home / "cover")) if "trace" in tool else ()
    assert "RESULT 2" in watched(yard, SUBMITTED, *tool, *more)


def test_breakpoints_in_a_flow_stop_and_go_on(yard: Stage, runner: str):
    shown = watched(yard, STOPPED, typed="p 'x is', x\nc\n")
    assert "('x is', 1)" in shown
    assert "RESULT 1" in shown


def test_a_program_is_as_fast_after_a_run_that_was_interrupted(yard: Stage):
    ratio = float(watched(yard, SPEED).split()[-1])
    assert ratio < 1.5
