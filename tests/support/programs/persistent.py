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


def ask(number: int) -> Future[int]:
    """Ask for something large to be recorded, and give the answer a moment."""
    future: Future[int] = measure.submit(number.to_bytes(4, "big") * (LARGE // 4))
    future.wait(0.2)  # one that was accepted just before the disk was full ends when there is room again
    return future


def refusal_of(future: Future[int]) -> StorageFull | None:
    """Say why a run was not accepted; None if it was, or may be."""
    outcome = future.result(raise_on_failure=False) if future.done() else None
    return outcome if isinstance(outcome, StorageFull) else None


@flow
def persistent() -> None:
    in_flight = [slow.submit(2.0), slow.submit(0.5)]
    time.sleep(0.4)
    say(event="in flight")
    asked = [ask(0)]
    while (refusal := refusal_of(asked[-1])) is None:
        asked.append(ask(len(asked)))
    say(event="refused", message=str(refusal), retry_after=refusal.retry_after)
    while refusal_of(asked[-1]) is not None:
        asked.append(ask(len(asked)))
    accepted = [future.result() for future in asked if refusal_of(future) is None]
    assert set(accepted) == {LARGE}
    say(
        event="accepted again",
        in_flight=[future.result() for future in in_flight],
        accepted=len(accepted),
    )


if __name__ == "__main__":
    persistent()
