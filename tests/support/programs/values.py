"""A user's program with large values: an argument by content, and a result that another task reads.

Argument: of how many numbers they consist. Prints what each came to as one record; tasks note when they are
executed.
"""

import hashlib
import json
import os
import sys
from typing import Any

import numpy as np

from taskyard import flow, task

HISTORY = os.environ["HISTORY"]


def note(what: str) -> None:
    with open(HISTORY, "ab", buffering=0) as history:
        history.write(f"{what}\n".encode())


def digest_of(array: Any) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


@task
def make(first: int, count: int) -> Any:
    note("make")
    return np.arange(first, first + count, dtype=np.float64)


@task
def look(made: Any, table: Any) -> list[str]:
    note("look")
    return [digest_of(made), digest_of(table)]


@flow
def values(count: int) -> None:
    made = make.submit(1, count)
    made.wait()  # what is executed once more is known then, whoever is killed
    seen = look.submit(made, np.arange(count, dtype=np.float64)).result()
    print(json.dumps({"seen": seen, "made": digest_of(made.result())}))


if __name__ == "__main__":
    values(int(sys.argv[1]))
