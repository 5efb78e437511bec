"""The id of a deferred run is enough for a future of it, and for the exception that it ended with.

Prints:
    hello Ann
    hello Ann
    True True
    ValueError: no
"""

import asyncio

from taskyard import task
from taskyard.exceptions import FailedRun, TaskyardException
from taskyard.futures import TaskyardDistributedFuture, TaskyardFuture
from taskyard.states import get_state_exception


@task
def hello(name="world"):
    return f"hello {name}"


@task
def fails():
    raise ValueError("no")


async def waits(run_id):
    return await TaskyardDistributedFuture(task_run_id=run_id).result_async()


run = hello.delay("Ann")
again = TaskyardDistributedFuture(task_run_id=run.task_run_id)
print(again.result(timeout=30))
print(asyncio.run(waits(run.task_run_id)))
print(again == run, isinstance(run, TaskyardFuture) and issubclass(FailedRun, TaskyardException))

failed = TaskyardDistributedFuture(task_run_id=fails.delay().task_run_id)
failed.wait()
error = get_state_exception(failed.state)
print(f"{type(error).__name__}: {error}")
