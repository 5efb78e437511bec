"""Queues runs that belong to no flow, some of which end at once, prints their ids, and waits to be killed.

What is in the queue "default" is for an agent that is there now; what is in "later" waits for another.
"""

import json
import signal
import sys
from pathlib import Path
from typing import Any

from neighbour import AwkwardError, scale

from taskyard import Completed, Failed, allow_failure, get_run_logger, opaque, quote, task, unmapped


@task
def add(a: int, b: int = 10) -> int:
    get_run_logger().info("adding %s and %s", a, b)
    return a + b


@task(retries=2, retry_delay_seconds=0)
def third_time(path: str) -> int:
    return nth_time(path, 3)


@task(retries=1, retry_delay_seconds=2)
def second_time(path: str) -> int:
    return nth_time(path, 2)


def nth_time(path: str, number: int) -> int:
    """Fail until it was called this often."""
    with Path(path).open("a+") as file:
        file.write("x")
        file.flush()
        file.seek(0)
        count = len(file.read())
    if count < number:
        raise RuntimeError(f"time {count}")
    return count


@task
def scaled(x: int, y: int, by: int = 2) -> tuple[int, int]:
    return scale(x, y, by)


@task
def awkward() -> None:
    raise AwkwardError(7, detail="odd")


@task
def by_hand() -> Any:
    return Completed(data={"a": 1}, message="made by hand", name="Fine")


@task
def failed_by_hand() -> Any:
    return Failed(message="refused by hand")


@task(cache_key_fn=lambda _, parameters: f"square-{parameters['x']}")
def square(x: int) -> int:
    return x * x


@task
def describe(value: Any) -> str:
    return f"{type(value).__name__} {value}"


@task
async def coroutine(value: int) -> int:
    return value + 1


def in_queue(queue: str, folder: str) -> dict[str, Any]:
    """Queue one run of each kind."""
    first = add.with_options(queue=queue).delay(1)
    failed = awkward.with_options(queue=queue).delay()
    described = describe.with_options(queue=queue)
    return {
        "plain": first,
        "downstream": add.with_options(queue=queue).delay(first, b=first),
        "retried": third_time.with_options(queue=queue).delay(f"{folder}/third-{queue}"),
        "neighbour": scaled.with_options(queue=queue).delay(1, 2),
        "awkward": failed,
        "by_hand": by_hand.with_options(queue=queue).delay(),
        "failed_by_hand": failed_by_hand.with_options(queue=queue).delay(),
        "cached": square.with_options(queue=queue).delay(3 if queue == "default" else 4),
        "coroutine": coroutine.with_options(queue=queue).delay(first),
        "large": described.delay("x" * 300_000),
        "unmapped": described.delay(unmapped([1, first])),
        "quoted": described.delay(quote([1, 2])),
        "opaque": described.delay(opaque([1, 2])),
        "failure_allowed": described.delay(allow_failure(failed)),
        "never": described.delay(failed),
        "ordered": add.with_options(queue=queue).apply_async((2,), {"b": 3}, wait_for=[first]),
    }


def main(folder: str) -> None:
    """Queue all, and wait for those that can end."""
    ended = in_queue("default", folder)
    for future in ended.values():
        future.wait()
    waiting = in_queue("later", folder)
    waiting["downstream_of_ended"] = add.with_options(queue="later").delay(
        ended["plain"], b=ended["downstream"]
    )
    waiting["value_of_ended"] = describe.with_options(queue="later").delay(ended["neighbour"])
    waiting["failure_of_ended"] = describe.with_options(queue="later").delay(allow_failure(ended["awkward"]))
    waiting["hit"] = square.with_options(queue="later").delay(3)
    waiting["between_attempts"] = second_time.delay(f"{folder}/second")
    labelled = {"ended": ended, "waiting": waiting}
    ids = {
        when: {label: str(future.task_run_id) for label, future in futures.items()}
        for when, futures in labelled.items()
    }
    print(json.dumps(ids), flush=True)


main(sys.argv[1])
signal.pause()
