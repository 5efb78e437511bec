"""A program that forks inside its flows, or starts processes by any method, ends as it does without them."""

import pytest
from support.programs import Stage

FORKED = """
import multiprocessing, os, signal, sys, time
from taskyard import flow, task

@task
def one(n):
    return n + 1

@flow
def inner():
    return one(1)

def plain(n):
    return n * n

def child():
    try:
        inner()
    except Exception as error:
        print(type(error).__name__, error, flush=True)

def status_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

@flow
def forks():
    first, pending = one(1), one.submit(2)
    fork = multiprocessing.get_context("fork")
    with fork.Pool(2) as pool:
        squares = pool.map(plain, range(4))
    process = fork.Process(target=child)
    process.start()
    process.join(20)
    pid = os.fork()
    if pid == 0:
        sys.exit(7)
    exited = status_of(pid)
    pid = os.fork()
    if pid == 0:
        raise ValueError("of the child")
    raised = status_of(pid)
    pid = os.fork()
    if pid == 0:
        while True:
            time.sleep(1)
    os.kill(pid, signal.SIGTERM)
    return first, squares, process.exitcode, exited, raised, status_of(pid), pending.result()

parent = os.getpid()
result = forks()
print("RESULT", result, os.getpid() == parent)
"""
RETURNED = """
import os
from taskyard import flow

@flow
def forks():
    return os.fork()

pid = forks()
if pid == 0:
    print("CHILD", flush=True)
else:
    os.waitpid(pid, 0)
    print("PARENT", flush=True)
"""
STARTED = """
import multiprocessing
from taskyard import flow, task

@task
def one(n):
    return n + 1

@flow
def inner(n):
    return one.submit(n).result()

def child(n):
    return inner(n)

if __name__ == "__main__":
    print("BEFORE", inner(0))
    context = multiprocessing.get_context("METHOD")
    with context.Pool(2) as pool:
        print("RESULT", pool.map(child, [1, 2]), inner(3))
"""
IN_TASKS = """
import os, sys
from taskyard import flow, task
from taskyard.task_runners import ThreadPoolTaskRunner

@task
def forks(how):
    pid = os.fork()
    if pid == 0:
        if how == "exits":
            sys.exit(7)
        if how == "raises":
            raise ValueError("of the child")
        return "of the child"
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

@flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
def small():
    direct = [forks(how) for how in ("exits", "raises")]
    return direct, [forks.submit(how).result() for how in ("exits", "raises", "returns")]

print("RESULT", small())
"""


def test_children_of_a_flow_end_as_children(yard: Stage, runner: str):
    done = yard.run_script(FORKED)
    assert "RESULT (2, [0, 1, 4, 9], 0, 7, 1, -15, 3) True" in done.stdout, done.stderr
    assert "ConnectionFailed this process was forked" in done.stdout, "what cannot work fails at once"
    assert done.stderr.count("Finished in state") == 1, "nothing is reported by a child"
    assert done.stderr.count("Traceback") == 1, "of the ValueError, and none of multiprocessing's"


def test_a_child_that_returns_from_a_flow_goes_on(yard: Stage, runner: str):
    done = yard.run_script(RETURNED)
    assert sorted(done.stdout.split()) == ["CHILD", "PARENT"], done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_that_start_afresh_have_flows_of_their_own(yard: Stage, runner: str, method: str):
    done = yard.run_script(STARTED.replace("METHOD", method))
    assert "RESULT [2, 3] 4" in done.stdout, done.stderr
    assert "Traceback" not in done.stderr


def test_children_of_a_task_in_a_thread_end_as_children(yard: Stage):
    done = yard.run_script(IN_TASKS)
    assert done.stdout == "RESULT ([7, 1], [7, 1, 0])\n", done.stderr
    assert done.stderr.count("ValueError: of the child") == 2
    assert "ConnectionFailed" not in done.stderr
