"""Async tasks of a program: they share processes, stop where they wait, and call each other."""

import pytest
from support.programs import Stage

MANY = """
import asyncio, os, time
from taskyard import flow, task

@task
async def nap(i, seconds):
    await asyncio.sleep(seconds)
    return os.getpid()

@flow
async def gathered(count, seconds):
    return await asyncio.gather(*[nap(i, seconds) for i in range(count)])

asyncio.run(gathered(3, 0))
began = time.monotonic()
pids = asyncio.run(gathered(100, 0.5))
print(len(pids), len(set(pids)) <= os.cpu_count(), round(time.monotonic() - began, 1))
"""
GIVEN_UP = """
import asyncio, time
from taskyard import flow, task

@task
async def slow():
    await asyncio.sleep(60)

@flow
async def give_up():
    try:
        await asyncio.wait_for(slow(), 0.5)
    except TimeoutError:
        return "gave up"

began = time.monotonic()
print(asyncio.run(give_up()), time.monotonic() - began < 30)
"""
LIMITED = """
import asyncio
from taskyard import flow, task

@task(timeout_seconds=0.5)
async def slow():
    await asyncio.sleep(60)

@flow
def main():
    state = slow.submit(return_state=True)
    return state.name, state.message

try:
    print(main())
except Exception as error:
    print(type(error).__name__, error)
"""
NESTED = """
import asyncio
from taskyard import flow, task

@task
async def leaf(x):
    await asyncio.sleep(0.01)
    return x

@task
def plain(x):
    return 10 * x

@task
async def awaits(x):
    return sum(await asyncio.gather(*[leaf(x) for _ in range(3)])) + await leaf.submit(x)

@task
async def waits(x):
    return leaf.submit(x).result() + plain(x)

@task
async def deep(x):
    return 0 if x == 0 else 1 + await deep(x - 1)

@flow
def main():
    return awaits.map(range(20)).result(), waits.map(range(20)).result(), deep.submit(8).result()

print(main() == ([4 * x for x in range(20)], [11 * x for x in range(20)], 8))
"""
RUNNERS = pytest.mark.parametrize("runner", ["agents", "threads"])


@RUNNERS
def test_a_hundred_async_tasks_that_wait_take_little_longer_than_one(stage: Stage, runner: str) -> None:
    stage.environment["TASKYARD_TASK_RUNNER"] = runner
    count, few, seconds = stage.run_script(MANY).stdout.split()
    assert (count, few) == ("100", "True")
    assert 0.5 <= float(seconds) < 5, "25 s when each has a slot"


@RUNNERS
def test_a_cancelled_await_cancels_its_run(stage: Stage, runner: str) -> None:
    stage.environment["TASKYARD_TASK_RUNNER"] = runner
    assert stage.run_script(GIVEN_UP).stdout.strip() == "gave up True"
    [run] = stage.document("run", "ls", "--kind", "task")
    assert run["state"] == "CANCELLED"


@RUNNERS
def test_an_async_task_times_out_where_it_waits(stage: Stage, runner: str) -> None:
    stage.environment["TASKYARD_TASK_RUNNER"] = runner
    done = stage.run_script(LIMITED)
    text = "the attempt exceeded its timeout of 0.5 seconds and was ended"
    assert done.stdout.strip() == str(("TimedOut", text))
    assert f"Finished in state TimedOut('{text}'" in done.stderr
    assert "destroyed" not in done.stderr


@RUNNERS
def test_async_tasks_call_each_other_and_plain_ones_however_they_wait(stage: Stage, runner: str) -> None:
    stage.environment["TASKYARD_TASK_RUNNER"] = runner
    assert stage.run_script(NESTED).stdout.strip() == "True"
