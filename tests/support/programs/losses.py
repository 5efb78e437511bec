"""A user's program whose large values are lost while it runs, by its own doing.

Arguments: where the store keeps its files; what is done to one (`gone`, `short`, or the byte to flip a bit
of); and a file that is made when it is done. Prints what comes of it.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from taskyard import flow, task

FILES, DAMAGE, MEETING = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
NUMBERS = 500_000
"""4 MB."""


def note(what: str) -> None:
    with open(os.environ["HISTORY"], "ab", buffering=0) as history:
        history.write(f"{what}\n".encode())


@task
def make(first: int) -> Any:
    note("make")
    return np.arange(first, first + NUMBERS, dtype=np.float64)


@task(cache_key_fn=lambda context, parameters: "one key for all")
def remember() -> Any:
    note("remember")
    return np.arange(NUMBERS, dtype=np.float64)


@task
def begin(meeting: str) -> None:
    while not Path(meeting).exists():
        time.sleep(0.01)  # nothing tells what goes on in other processes


@task
def look(table: Any) -> float:
    note("look")
    return float(table[-1])


def damage(beginning: str, known: set[str] = frozenset()) -> str:  # type: ignore[assignment]
    """Do to the one new file of the store what is to be done; returns its name."""
    [path] = [path for path in FILES.rglob(f"{beginning}*") if path.name not in known]
    if DAMAGE == "gone":
        path.unlink()
    elif DAMAGE == "short":
        os.truncate(path, path.stat().st_size // 2)
    else:
        with path.open("r+b") as file:
            file.seek(int(DAMAGE))
            [byte] = file.read(1)
            file.seek(int(DAMAGE))
            file.write(bytes([byte ^ 1]))
    return path.name


def say(what: str, name: str, future: Any) -> None:
    """Print how a run ended whose value, or whose argument, is lost."""
    error = future.result(raise_on_failure=False)
    state = future.state
    record = {"what": what, "name": name, "state": state.name, "message": state.message}
    print(json.dumps({**record, "error": type(error).__name__, "text": str(error)}))


@flow
def lose_an_argument() -> None:
    begun = begin.submit(str(MEETING))
    waiting = look.submit(np.arange(NUMBERS, dtype=np.float64), wait_for=[begun])
    name = damage("b3-")
    others = [look.submit(np.arange(n, n + NUMBERS, dtype=np.float64), wait_for=[begun]) for n in (1, 2)]
    MEETING.touch()
    say("argument", name, waiting)
    print(json.dumps({"what": "others", "values": [other.result() for other in others]}))


@flow
def lose_a_result() -> None:
    made = make.submit(1)
    made.wait()
    name = damage("run-")
    try:
        made.result()
    except Exception as error:
        print(json.dumps({"what": "result", "name": name, "error": type(error).__name__, "text": str(error)}))


@flow
def lose_what_is_cached() -> None:
    known = {path.name for path in FILES.rglob("run-*")}
    remember.submit().wait()
    damage("run-", known)
    again = remember.submit()
    state = again.wait()
    try:
        found = again.result()
    except Exception as error:
        print(json.dumps({"what": "cached", "error": type(error).__name__}))
        return
    kept = remember.submit()
    print(json.dumps({"what": "cached", "state": state.name, "last": found[-1], "kept": kept.wait().name}))


if __name__ == "__main__":
    lose_an_argument()
    lose_a_result()
    lose_what_is_cached()
