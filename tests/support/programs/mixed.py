"""A user's program with everything that has to survive faults: a graph, retries and a cache.

Arguments: how wide, and how many milliseconds a task takes. Prints one record per run.
"""

import json
import os
import sys
import time
from typing import Any

from taskyard import Future, flow, task
from taskyard.runtime import task_run

HISTORY = os.environ["HISTORY"]
KEYS = 10


def note(what: str) -> None:
    line = f"{what} {task_run.id.replace('-', '')} {task_run.run_count} {os.getpid()}\n"
    with open(HISTORY, "ab", buffering=0) as history:
        history.write(line.encode())


def worked(milliseconds: float, value: Any) -> Any:
    note("start")
    time.sleep(milliseconds / 1000)
    note("end")
    return value


@task
def source(number: int, milliseconds: float) -> int:
    return worked(milliseconds, number)


@task
def double(number: int, milliseconds: float) -> int:
    return worked(milliseconds, 2 * number)


@task(retries=2, retry_delay_seconds=0.05)
def second_time(number: int, milliseconds: float) -> int:
    worked(milliseconds, None)
    if number % 5 == 0 and task_run.run_count == 1:
        raise RuntimeError("fails the first time, as it should")
    return -number


@task(cache_key_fn=lambda context, parameters: f"shared-{parameters['number'] % KEYS}")
def shared(number: int, milliseconds: float) -> int:
    return worked(milliseconds, number % KEYS)


@task
def total(numbers: list[int], milliseconds: float) -> int:
    return worked(milliseconds, sum(numbers))


def record(future: Future[int], expected: int, upstream: list[Future[int]], cache_key: str = "") -> None:
    value = future.result()
    assert value == expected, (future, value, expected)
    ids = [each.task_run_id.hex for each in upstream]
    line = {"run_id": future.task_run_id.hex, "upstream": ids, "cache_key": cache_key, "value": value}
    print(json.dumps(line))


@flow
def mixed(width: int, milliseconds: float) -> None:
    sources = list(source.map(range(width), milliseconds))
    doubles = list(double.map(sources, milliseconds))
    retried = list(second_time.map(doubles, milliseconds))
    cached = [shared.submit(number, milliseconds) for number in range(width)]
    sums = [total.submit(retried[at : at + 10], milliseconds) for at in range(0, width, 10)]
    last = total.submit(sums, milliseconds)
    for number in range(width):
        record(sources[number], number, [])
        record(doubles[number], 2 * number, [sources[number]])
        record(retried[number], -2 * number, [doubles[number]])
        record(cached[number], number % KEYS, [], f"shared-{number % KEYS}")
    for place, future in enumerate(sums):
        at = place * 10
        record(future, -2 * sum(range(width)[at : at + 10]), retried[at : at + 10])
    record(last, -2 * sum(range(width)), sums)


if __name__ == "__main__":
    mixed(int(sys.argv[1]), float(sys.argv[2]))
