"""Calls around the end of the interpreter work, or fail at once and say why."""

import sys

import pytest
from support.programs import Stage

HEAD = """
import atexit, os, sys, threading, time
from taskyard import flow, task

@task
def one(n):
    time.sleep(0.1)
    return n + 1

@flow
def small():
    return one.submit(1).result()

def call(_):
    return small()

def show():
    print("RESULT", small(), flush=True)

@task
def count():
    yield from (2, 3)

@flow
def show_count():
    global kept
    kept = count()
    return next(kept)

def late():
    threading.main_thread().join()
    show()

"""
USED = {
    "a thread that outlives main": "small(); threading.Thread(target=late).start()",
    "a handler of the end": "small(); atexit.register(show)",
    "a daemon thread": "threading.Thread(target=lambda: [*map(call, [0] * 99)], daemon=True).start(); show()",
    "generators that nobody went on with": "values = count(); print('RESULT', next(values)); show_count()",
    "a deferred run": "one.delay(1); print('RESULT 2')",
    "an exit in the flow": "@flow\ndef ends():\n    one.submit(1); print('RESULT 2'); sys.exit(7)\nends()",
}
FIRST = {
    "a thread that outlives main": "threading.Thread(target=late).start()",
    "a handler of the end": "atexit.register(show)",
}


@pytest.mark.parametrize("way", USED)
def test_a_program_that_is_connected_calls_until_its_end(yard: Stage, runner: str, way: str):
    done = yard.run_script(HEAD + USED[way])
    assert "RESULT 2" in done.stdout, done.stderr
    assert done.returncode == (7 if "exit" in way else 0)
    assert "Traceback" not in done.stderr or "daemon" in way, "a daemon's calls end with the program"
    assert "Fatal" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if "generators" in way:
        runs = yard.document("run", "ls", "--kind", "task")
        assert {run["state"] for run in runs if run["task_name"] == "count"} == {"COMPLETED"}


@pytest.mark.parametrize("way", FIRST)
def test_a_first_call_at_the_end_works_or_says_that_it_is_too_late(yard: Stage, runner: str, way: str):
    done = yard.run_script(HEAD + FIRST[way], seconds=14)
    if "RESULT 2" in done.stdout:
        assert "Traceback" not in done.stderr
    else:
        assert sys.version_info >= (3, 12), done.stderr  # no thread can be started there
        assert "too late for the first call of a task or flow" in done.stderr.splitlines()[-1]
        assert done.stderr.count("Traceback") == 1
