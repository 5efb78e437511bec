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


def follow(monkeypatch: pytest.MonkeyPatch, script: Script, lasts: float = 0.0) -> Iterator[str]:
    """Follow streams that are asked for with these tokens, say this and end so; each text `lasts` seconds."""
    left, seconds = iter(script), 0.0

    def messages(call: Any, token: str) -> Iterator[str]:
        expected, texts, end = next(left)
        nonlocal seconds
        assert token == expected
        for text in texts:
            seconds += lasts
            yield text
        if end is not None:
            raise end

    monkeypatch.setattr(following, "_messages", messages)
    return following.followed(lambda token: None, lambda message: message, clock=lambda: seconds)


def test_after_a_lost_connection_it_goes_on_with_the_last_token(
    monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    lost = ConnectionFailed("gone")
    script: Script = [("", ["a", "b"], lost), ("b", [], lost), ("b", ["c"], lost), ("c", ["d"], None)]
    assert list(follow(monkeypatch, script, lasts=1.0)) == ["a", "b", "c", "d"]
    assert slept == [0.1, 0.3, 0.1], "longer and longer, until a stream has lasted"


def test_streams_that_end_as_soon_as_they_say_something_are_begun_ever_more_seldom(
    monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    lost = ConnectionFailed("gone")
    script: Script = [("", ["a"], lost), ("a", ["a"], lost), ("a", ["a"], lost), ("a", ["b"], None)]
    assert list(follow(monkeypatch, script, lasts=0.1)) == ["a", "a", "a", "b"]
    assert slept == [0.1, 0.3, 1.0]


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
