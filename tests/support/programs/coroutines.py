"""A user's program: many async tasks that wait.

Arguments: how many, and how many milliseconds one waits. Prints one record per run.
"""

import asyncio
import json
import os
import sys

from taskyard import Future, flow, task
from taskyard.runtime import task_run

HISTORY = os.environ["HISTORY"]


def note(what: str) -> None:
    line = f"{what} {task_run.id.replace('-', '')} {task_run.run_count} {os.getpid()}\n"
    with open(HISTORY, "ab", buffering=0) as history:
        history.write(line.encode())


@task
async def triple(number: int, milliseconds: float) -> int:
    note("start")
    await asyncio.sleep(milliseconds / 1000)
    note("end")
    return 3 * number + 1


def record(number: int, future: Future[int]) -> None:
    value = future.result()
    assert value == 3 * number + 1, (number, value)
    run_id = future.task_run_id.hex
    print(json.dumps({"run_id": run_id, "upstream": [], "cache_key": "", "value": value}))


@flow
def waiting(count: int, milliseconds: float) -> int:
    futures = triple.map(range(count), milliseconds)
    for number, future in enumerate(futures):
        record(number, future)
    return count


if __name__ == "__main__":
    waiting(int(sys.argv[1]), float(sys.argv[2]))
