"""A user's program that is ended from outside: more tasks than there are workers, and a body that waits.

Arguments: how many tasks, and how many seconds each takes.
"""

import os
import sys
import time

from taskyard import flow, task
from taskyard.runtime import task_run

HISTORY = os.environ["HISTORY"]


@task
def linger(number: int, seconds: float) -> int:
    line = f"start {task_run.id.replace('-', '')} {task_run.run_count} {os.getpid()}\n"
    with open(HISTORY, "ab", buffering=0) as history:
        history.write(line.encode())
    time.sleep(seconds)
    return number


@flow
def lingering(count: int, seconds: float) -> list[int]:
    futures = [linger.submit(number, seconds) for number in range(count)]
    print("submitted")
    return [future.result() for future in futures]


if __name__ == "__main__":
    lingering(int(sys.argv[1]), float(sys.argv[2]))
