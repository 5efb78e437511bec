"""A stream that is followed goes on after its last token, and begins again where it cannot."""

from collections.abc import Iterator
from typing import Any

import pytest

from taskyard._network.server import following
from taskyard_contract.errors import ConnectionFailed, RunNotFound, TaskyardError, WatchExpired

Script = list[tuple[str, list[str], TaskyardError | None]]


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited; nobody does."""
    pauses: list[float] = []
    monkeypatch.setattr(following.time, "sleep", pauses.append)
    return pauses


def follow(monkeypatch: pytest.MonkeyPatch, script: Script) -> Iterator[str]:
    """Follow streams that are asked for with these tokens, say this and end so."""
    left = iter(script)

    def messages(call: Any, token: str) -> Iterator[str]:
        expected, texts, end = next(left)
        assert token == expected
        yield from texts
        if end is not None:
            raise end

    monkeypatch.setattr(following, "_messages", messages)
    return following.followed(lambda token: None, lambda message: message, clock=lambda: 0.0)


def test_after_a_lost_connection_it_goes_on_with_the_last_token(
    monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    lost = ConnectionFailed("gone")
    script: Script = [("", ["a", "b"], lost), ("b", [], lost), ("b", ["c"], lost), ("c", ["d"], None)]
    assert list(follow(monkeypatch, script)) == ["a", "b", "c", "d"]
    assert slept == [0.1, 0.3, 0.1], "longer and longer, until something was heard"


def test_it_begins_again_ever_more_seldom(monkeypatch: pytest.MonkeyPatch, slept: list[float]) -> None:
    expired = WatchExpired("too old")
    script: Script = [("", ["a"], expired), ("", ["a"], expired), ("", ["a", "b"], None)]
    assert list(follow(monkeypatch, script)) == ["a", "a", "a", "b"]
    assert slept == [0.1, 0.3]


@pytest.mark.parametrize(
    "script",
    [
        [("", [], ConnectionFailed("nobody"))],
        [("", [], WatchExpired("not even the beginning arrived"))],
        [("", ["a"], RunNotFound("no such run"))],
    ],
    ids=["nobody answers", "too slow", "refused"],
)
def test_what_would_be_met_again_is_told(
    monkeypatch: pytest.MonkeyPatch, slept: list[float], script: Script
) -> None:
    with pytest.raises(TaskyardError) as told:
        list(follow(monkeypatch, script))
    assert told.value is script[-1][2]
    assert slept == []
