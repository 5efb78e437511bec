"""A flow with runs that execute until a file appears, and one that waits for them."""

import sys
import time
from pathlib import Path

from taskyard import flow, task


@task
def until(path: str, number: int) -> int:
    with Path(f"{path}.started").open("a") as file:
        file.write(f"{number}\n")
    while not Path(path).exists():
        time.sleep(0.02)  # nothing tells when another process makes a file
    return number


@task
def total(parts: list[int]) -> int:
    return sum(parts)


@flow(name="long running")
def long_running(path: str) -> int:
    futures = until.map([path] * 6, range(6))
    summed = total.submit(futures)
    print("submitted", flush=True)
    return summed.result()


print(long_running(sys.argv[1]))
