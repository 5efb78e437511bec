"""A user's program: many short tasks through ``map``, then through a loop of ``submit``.

Arguments: how many for each, and how many milliseconds a task takes. Prints one record per run.
"""

import json
import os
import sys
import time

from taskyard import Future, flow, task
from taskyard.runtime import task_run

HISTORY = os.environ["HISTORY"]


def note(what: str) -> None:
    line = f"{what} {task_run.id.replace('-', '')} {task_run.run_count} {os.getpid()}\n"
    with open(HISTORY, "ab", buffering=0) as history:
        history.write(line.encode())


@task
def triple(number: int, milliseconds: float) -> int:
    note("start")
    time.sleep(milliseconds / 1000)
    note("end")
    return 3 * number + 1


def record(number: int, future: Future[int]) -> None:
    value = future.result()
    assert value == 3 * number + 1, (number, value)
    run_id = future.task_run_id.hex
    print(json.dumps({"run_id": run_id, "upstream": [], "cache_key": "", "value": value}))


@flow
def bulk(mapped: int, looped: int, milliseconds: float) -> int:
    futures = list(triple.map(range(mapped), milliseconds))
    for number, future in enumerate(futures):
        record(number, future)
    futures = []
    for number in range(looped):
        futures.append(triple.submit(number, milliseconds))
        time.sleep(milliseconds / 2000)  # as fast as two workers, so that faults meet submissions
    for number, future in enumerate(futures):
        record(number, future)
    return mapped + looped


if __name__ == "__main__":
    bulk(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
