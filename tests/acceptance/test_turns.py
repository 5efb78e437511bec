"""A program does not wait for all that another one has queued; nor where that crowds the agent with calls."""

import time

import pytest
from support.programs import Stage

pytestmark = pytest.mark.slow

QUICK = """
import time
from taskyard import flow, task

@task
def quick(i):
    return i

@flow
def one():
    started = time.monotonic()
    quick.submit(1).result()
    return time.monotonic() - started

print(*(one() for _ in range(5)))
"""
WIDE = """
import sys, time
from taskyard import flow, task

count, seconds = int(sys.argv[1]), float(sys.argv[2])

@task
def step(i):
    if seconds:
        time.sleep(seconds)

@flow
def wide():
    futures = step.map(range(count))
    futures[0].wait()
    print("started", flush=True)
    futures.wait()

wide()
print("ended", flush=True)
"""
TREE = """
import time
from taskyard import flow, task

@task
def node(depth):
    if not depth:
        return time.sleep(0.1)
    for future in [node.submit(depth - 1) for _ in range(6)]:
        future.result()

@flow
def tree():
    futures = [node.submit(4) for _ in range(12)]
    time.sleep(3)
    print("started", flush=True)
    for future in futures:
        future.result()

tree()
print("ended", flush=True)
"""
FAR_TOO_LONG = 15.0
"""Seconds; what the other program has takes a minute and more, and a turn some hundredths of a second."""


@pytest.mark.parametrize(
    ("crowd", "arguments"),
    [(WIDE, ("2000", "0.2")), (WIDE, ("100000", "0.005")), (TREE, ())],
    ids=["slow", "many", "tree"],
)
def test_a_quick_run_starts_beside_what_another_program_has_queued(
    stage: Stage, crowd: str, arguments: tuple[str, ...]
) -> None:
    stage.serve()
    stage.work("--slots", "2")
    path = stage.home / "crowd.py"
    path.write_text(crowd)
    other = stage.start_file(path, *arguments)
    assert other.line() == "started"
    began = time.monotonic()
    done = stage.run_script(QUICK)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 4 * FAR_TOO_LONG
    assert max(map(float, done.stdout.split())) < FAR_TOO_LONG
    assert other.process.poll() is None, "it still has very much to do"
    other.end()
