"""Ways to define a task.

Prints:
    add 3
    add_async 3
    ['a', 'b'] Empty, and a beginning.
    The Ultimate Task
    3 5
    hello
"""

import asyncio
from datetime import timedelta
from random import randint

from taskyard import flow, task
from taskyard.tasks import task_input_hash


@task
def add(x, y):
    return x + y


@task
async def add_async(x, y):
    return x + y


@task(tags={"a", "b"}, description="Empty, and a beginning.")
def empty():
    pass


@task(name="The Ultimate Task")
def ultimate():
    pass


@task(retries=3, retry_delay_seconds=5)
def unsteady():
    x = randint(0, 5)
    if x >= 3:
        raise ValueError("Once more, please!")
    return x


@task(cache_key_fn=task_input_hash, cache_expiration=timedelta(days=1))
def cached():
    return "hello"


@flow
async def main():
    print("add", add(1, 2))
    print("add_async", await add_async(1, 2))
    print(sorted(empty.tags), empty.description)
    print(ultimate.name)
    print(unsteady.retries, unsteady.retry_delay_seconds)
    print(cached())


asyncio.run(main())
