"""Calls are made once more while a server is being replaced, and not otherwise."""

import asyncio
from itertools import count

import pytest

from taskyard_contract.errors import (
    BlobNotFound,
    ConnectionFailed,
    DigestMismatch,
    NotOwner,
    ServerStopping,
    StorageFull,
    TaskyardError,
)
from taskyard_contract.transport import repeating


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test wait."""
    monkeypatch.setattr(repeating, "FIRST_DELAYS", ())
    monkeypatch.setattr(repeating, "LONGEST_DELAY", 0.0)


class Attempts:
    """A call that fails of one thing after the other, and then succeeds."""

    def __init__(self, *failures: TaskyardError) -> None:
        self.left = list(failures)

    async def __call__(self) -> str:
        if self.left:
            raise self.left.pop(0)
        return "answer"


def test_what_fails_while_a_server_is_replaced_is_repeated() -> None:
    passing = Attempts(ServerStopping("stopping"), ConnectionFailed("nobody there"), NotOwner("not yet"))
    assert asyncio.run(repeating.repeated(passing)) == "answer"


def test_what_is_refused_is_not_repeated() -> None:
    refused = Attempts(BlobNotFound("no such blob"), BlobNotFound("asked again"))
    with pytest.raises(BlobNotFound, match="no such blob"):
        asyncio.run(repeating.repeated(refused))


def test_a_server_that_stays_away_is_an_error_after_a_while() -> None:
    unreachable = Attempts(*(ConnectionFailed(f"attempt {number}") for number in range(1, 9)))
    seconds = count(0, 5)
    with pytest.raises(ConnectionFailed, match="attempt 5"):
        asyncio.run(repeating.repeated(unreachable, lambda: float(next(seconds))))


def test_the_first_attempt_may_take_as_long_as_it_needs() -> None:
    times = iter([1000.0, 1000.0])
    assert asyncio.run(repeating.repeated(Attempts(ServerStopping("")), lambda: next(times))) == "answer"


def test_what_arrives_damaged_is_asked_for_once_more_and_not_for_ever() -> None:
    once = Attempts(DigestMismatch("on its way"))
    assert asyncio.run(repeating.repeated(once)) == "answer"
    stored = Attempts(*(DigestMismatch(f"attempt {number}") for number in range(1, 9)))
    with pytest.raises(DigestMismatch, match="attempt 2"):
        asyncio.run(repeating.repeated(stored))


def test_who_can_wait_says_for_what_and_for_how_long_and_hears_of_it_once() -> None:
    heard, seconds = list[TaskyardError](), count(0, 100)
    full = Attempts(*(StorageFull(f"attempt {number}") for number in range(1, 9)))
    repeated = repeating.repeated(
        full,
        lambda: float(next(seconds)),
        passing=(StorageFull,),
        patience=500.0,
        failing=heard.append,
    )
    with pytest.raises(StorageFull, match="attempt 5"):
        asyncio.run(repeated)
    assert [str(error) for error in heard] == ["attempt 1"]
