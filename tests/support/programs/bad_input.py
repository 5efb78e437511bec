"""A user's program that does one thing wrong, and then goes on as if nothing had happened.

Argument: which thing. Prints what it was told, and the result of an ordinary task afterwards.
"""

import json
import sys
import threading
from collections.abc import Callable
from typing import Any

from taskyard import flow, task

TOO_LARGE = 10_000_001  # for the control plane, which is told to take 10 MB


@task
def echo(value: Any) -> Any:
    return value


@task
def make_lock() -> Any:
    return threading.Lock()


@task
def make_large(size: int) -> bytes:
    return bytes(size)


CASES: dict[str, Callable[[], Any]] = {
    "unpicklable-argument": lambda: echo.submit(threading.Lock()).result(),
    "unpicklable-argument-in-map": lambda: [f.result() for f in echo.map([1, threading.Lock()])],
    "unpicklable-result": lambda: make_lock.submit().result(),
    "large-argument": lambda: echo.submit(bytes(TOO_LARGE)).result(),
    "large-result": lambda: make_large.submit(TOO_LARGE).result(),
}


@flow
def careless(case: str) -> None:
    before = echo.submit("before")
    try:
        CASES[case]()
    except Exception as error:
        names = [kind.__name__ for kind in type(error).__mro__]
        told = {"error": names, "message": str(error), "limit": getattr(error, "limit", 0)}
    else:
        told = {"error": [], "message": "", "limit": 0}
    print(json.dumps(told | {"before": before.result(), "after": echo.submit("after").result()}))


if __name__ == "__main__":
    careless(sys.argv[1])
