"""A user's program that meets a full disk: it keeps asking until it is refused, and again until it is not.

Has runs in flight all the while. Prints what happens.
"""

import json
import time
from typing import Any

from taskyard import Future, flow, task
from taskyard_contract.errors import StorageFull

LARGE = 60_000


@task
def slow(seconds: float) -> str:
    time.sleep(seconds)
    return "done"


@task
def measure(data: bytes) -> int:
    return len(data)


def say(**fields: Any) -> None:
    print(json.dumps(fields))


def ask(number: int) -> StorageFull | None:
    """Have something large recorded; returns why that was refused."""
    future: Future[int] = measure.submit(number.to_bytes(4, "big") * (LARGE // 4))
    try:
        assert future.result() == LARGE
    except StorageFull as error:
        return error
    return None


@flow
def persistent() -> None:
    in_flight = [slow.submit(2.0), slow.submit(0.5)]
    time.sleep(0.4)
    say(event="in flight")
    accepted = 0
    while (refusal := ask(accepted)) is None:
        accepted += 1
        time.sleep(0.01)
    say(event="refused", accepted=accepted, message=str(refusal), retry_after=refusal.retry_after)
    while ask(accepted) is not None:
        time.sleep(0.05)
    say(event="accepted again", in_flight=[future.result() for future in in_flight])


if __name__ == "__main__":
    persistent()
