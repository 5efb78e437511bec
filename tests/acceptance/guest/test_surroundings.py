"""What a program has set up for itself stays as it is: handlers, streams, loops, test runners."""

import os
import signal
import subprocess

import pytest
from support.programs import HERE, Stage, eventually

SET_UP = """
import io, signal, sys
from taskyard import flow, task

class Stream(io.StringIO):
    pass

def handler(number, frame):
    heard.append(signal.Signals(number).name)

heard = []
NUMBERS = signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1, signal.SIGCHLD
for number in NUMBERS:
    signal.signal(number, handler)
out, err, hook, own_print = Stream(), Stream(), lambda *args: None, print
before = sys.stdout, sys.stderr, sys.excepthook
sys.stdout, sys.stderr, sys.excepthook = out, err, hook

@task(log_prints=True)
def one(n):
    print("printed by the task")
    return n + 1

@flow(log_prints=True, timeout_seconds=50)
def small():
    print("printed by the flow")
    for number in NUMBERS:
        signal.raise_signal(number)
    return one(1) + one.submit(2).result()

result = small()
print("printed by the program")
kept = (sys.stdout, sys.stderr, sys.excepthook) == (out, err, hook)
sys.stdout, sys.stderr, sys.excepthook = before
handlers = all(signal.getsignal(number) is handler for number in NUMBERS)
print("RESULT", result, kept, handlers, heard[:4], "printed by the program" in out.getvalue())
"""
DEFAULTS = """
import signal
from taskyard import flow, task

@task
def one(n):
    return n + 1

@flow(timeout_seconds=50)
def small():
    return one(1)

numbers = signal.SIGINT, signal.SIGTERM, signal.SIGALRM
before = [signal.getsignal(number) for number in numbers]
small()
print("RESULT", [signal.getsignal(number) for number in numbers] == before)
"""
NOTEBOOK = """
import ast, asyncio

CELLS = [
    "from taskyard import flow, task",
    "@task\\ndef one(n):\\n    return n + STEP",
    "@task\\nasync def aone(n):\\n    return n + STEP",
    "STEP = 1",
    "@flow\\ndef small():\\n    return one(1), one.submit(1).result(), one.map([1, 2]).result()",
    "@flow\\nasync def asmall():\\n    return one(1), await aone(1), await aone.submit(2)",
    "seen = [small()]",
    "seen.append(await asmall())",
    "print('RESULT', seen)",
]

async def kernel():
    for number, cell in enumerate(CELLS):
        code = compile(cell, f"<cell {number}>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        waiting = eval(code, globals())
        if asyncio.iscoroutine(waiting):
            await waiting

asyncio.run(kernel())
"""
SLOW = """
import time
from taskyard import flow, task

@task
def slow():
    with open({begun!r}, "a") as file:
        file.write("begun\\n")
    time.sleep(2)
    return 1

@flow
def small():
    return slow.submit().result()

print("RESULT", small(), flush=True)
"""
TESTS = """
import asyncio, pytest
from taskyard import flow, task

LIMIT = 5

@task
def pay(n):
    assert n < LIMIT, "too much"
    return n + 1

@pytest.fixture
def n():
    return 1

def test_value(n):
    @flow
    def small():
        return pay.submit(n).result()
    assert small() == 2

def test_failure():
    @flow
    def small():
        return pay.submit(9).result()
    with pytest.raises(AssertionError, match="too much"):
        small()

@pytest.mark.parametrize("n", range(3))
def test_prints(n, capsys):
    @task(log_prints=True)
    def say():
        print("said", n)
        return n
    assert say() == n

def test_direct():
    assert pay(3) == 4

class TestMethods:
    @task
    def method(self, n):
        return n * 2
    def test_method(self):
        assert self.method(4) == 8

def test_async():
    @flow
    async def small():
        return await asyncio.gather(*(pay.submit(i) for i in range(3)))
    assert asyncio.run(small()) == [1, 2, 3]
"""


def test_streams_handlers_and_hooks_of_the_program_stay(yard: Stage, runner: str):
    done = yard.run_script(SET_UP)
    heard = ["SIGINT", "SIGTERM", "SIGALRM", "SIGUSR1"]
    assert done.stdout == f"RESULT 5 True True {heard} True\n", done.stderr


def test_handlers_of_signals_are_as_before_when_a_flow_has_ended(yard: Stage, runner: str):
    done = yard.run_script(DEFAULTS)
    assert done.stdout == "RESULT True\n", done.stderr


def test_cells_of_a_notebook_call_flows_while_its_loop_runs(yard: Stage, runner: str):
    done = yard.run_script(NOTEBOOK)
    assert done.stdout == "RESULT [(2, 2, [2, 3]), (2, 2, 3)]\n", done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("more", [(), ("-n", "2")], ids=["plain", "xdist"])
def test_flows_inside_pytest(yard: Stage, more: tuple[str, ...]):
    yard.environment["TASKYARD_TASK_RUNNER"] = "threads"
    try:
        folder = yard.home / "project"
        folder.mkdir(exist_ok=True)
        (folder / "test_it.py").write_text(TESTS)
        (folder / "pytest.ini").write_text("[pytest]\n")
        # A directory of its own: elsewhere it would remove what other sessions have left, gigabytes perhaps.
        options = ["-q", "-p", "no:cacheprovider", f"--basetemp={yard.home / 'temporary'}", *more]
        done = subprocess.run(
            [str(HERE / "python"), "-m", "pytest", *options, "test_it.py"],
            cwd=folder,
            env=yard.environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    finally:
        del yard.environment["TASKYARD_TASK_RUNNER"]
    assert "8 passed" in done.stdout, done.stdout


def test_one_interrupt_ends_a_yard_in_order(stage: Stage):
    dev = stage.start("dev", "--slots", "1")
    dev.line()
    begun = stage.home / "begun"
    program = stage.start_script(SLOW.format(begun=str(begun)))
    eventually(begun.exists, "the task begins")
    os.killpg(dev.process.pid, signal.SIGINT)  # as a terminal does
    assert dev.wait() == 0
    assert "leaving at once" not in dev.log
    assert program.line() == "RESULT 1"
    assert begun.read_text() == "begun\n", "what ran is not executed again"
