"""A user's program that takes many results at once, as they are and in a dictionary.

Arguments: how many, and how large each is. Prints what came of each as one record; tasks that take them note
when they are executed.
"""

import json
import os
import sys
from typing import Any

from taskyard import flow, task

HISTORY = os.environ["HISTORY"]


@task
def make(number: int, size: int) -> bytes:
    return number.to_bytes(4, "big") * (size // 4)


@task
def total(values: Any) -> list[int]:
    with open(HISTORY, "ab", buffering=0) as history:
        history.write(b"total\n")
    values = values["made"] if isinstance(values, dict) else values
    right = sum(value[:4] == number.to_bytes(4, "big") for number, value in enumerate(values))
    return [len(values), sum(map(len, values)), right]


@flow(log_prints=False)
def many_inputs(count: int, size: int) -> None:
    made = make.map(range(count), size)
    print(json.dumps({"first": total.submit(made).result()}), flush=True)
    print(json.dumps({"second": total.submit({"made": made}).result()}))


if __name__ == "__main__":
    many_inputs(int(sys.argv[1]), int(sys.argv[2]))
