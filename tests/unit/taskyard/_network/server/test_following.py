"""A stream that is followed goes on after its last token, and begins again where it cannot."""

import threading
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from taskyard._network.server import following
from taskyard_contract.errors import ConnectionFailed, Overloaded, RunNotFound, TaskyardError, WatchExpired

Script = list[tuple[str, list[str], TaskyardError | None]]


class Follower:
    """Follows streams that are asked for with these tokens, say this and end so; waits for nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, script: Script, lasts: float = 0.0) -> None:
        """Let each text take `lasts` seconds."""
        self.slept: list[float] = []
        self._seconds, self._lasts = 0.0, lasts
        self._left = iter(script)
        monkeypatch.setattr(following, "messages_of", self.messages_of)

    async def messages_of(self, call: Any, token: str) -> AsyncIterator[str]:
        expected, texts, end = next(self._left)
        assert token == expected
        for text in texts:
            self._seconds += self._lasts
            yield text
        if end is not None:
            raise end

    async def _pause(self, seconds: float) -> None:
        self.slept.append(seconds)

    def all(self, *, patient: bool = False) -> list[str]:
        """Return all that comes."""
        messages: Any = following.followed(
            lambda token: None,
            lambda message: message,
            patient=patient,
            clock=lambda: self._seconds,
            pause=self._pause,
        )
        return list(following.in_this_thread(messages))


def test_after_a_lost_connection_it_goes_on_with_the_last_token(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = ConnectionFailed("gone")
    script: Script = [("", ["a", "b"], lost), ("b", [], lost), ("b", ["c"], lost), ("c", ["d"], None)]
    follower = Follower(monkeypatch, script, lasts=1.0)
    assert follower.all() == ["a", "b", "c", "d"]
    assert follower.slept == [0.1, 0.3, 0.1], "longer and longer, until a stream has lasted"


def test_streams_that_end_as_soon_as_they_say_something_are_begun_ever_more_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost = ConnectionFailed("gone")
    script: Script = [("", ["a"], lost), ("a", ["a"], lost), ("a", ["a"], lost), ("a", ["b"], None)]
    follower = Follower(monkeypatch, script, lasts=0.1)
    assert follower.all() == ["a", "a", "a", "b"]
    assert follower.slept == [0.1, 0.3, 1.0]


def test_it_begins_again_ever_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    expired = WatchExpired("too old")
    script: Script = [("", ["a"], expired), ("", ["a"], expired), ("", ["a", "b"], None)]
    follower = Follower(monkeypatch, script)
    assert follower.all() == ["a", "a", "a", "b"]
    assert follower.slept == [0.1, 0.3]


@pytest.mark.parametrize(
    "script",
    [
        [("", [], ConnectionFailed("nobody"))],
        [("", [], WatchExpired("not even the beginning arrived"))],
        [("", ["a"], RunNotFound("no such run"))],
    ],
    ids=["nobody answers", "too slow", "refused"],
)
def test_what_would_be_met_again_is_told(monkeypatch: pytest.MonkeyPatch, script: Script) -> None:
    follower = Follower(monkeypatch, script)
    with pytest.raises(TaskyardError) as told:
        follower.all()
    assert told.value is script[-1][2]
    assert follower.slept == []


def test_a_program_waits_for_a_server_that_is_away_in_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    follower = Follower(monkeypatch, [("", [], ConnectionFailed("nobody")), ("", ["a"], None)])
    assert follower.all(patient=True) == ["a"]
    assert follower.slept == [0.1]


def test_a_server_that_takes_no_more_is_left_alone_unless_it_took_this_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    busy = Overloaded("too many follow", retry_after=2.0)
    with pytest.raises(Overloaded):
        Follower(monkeypatch, [("", [], busy)]).all(patient=True)
    follower = Follower(
        monkeypatch, [("", ["a"], ConnectionFailed("gone")), ("a", [], busy), ("a", ["b"], None)]
    )
    assert follower.all(patient=True) == ["a", "b"]
    assert follower.slept == [0.1, 2.0]


def test_who_stops_listening_ends_what_is_followed() -> None:
    ended = threading.Event()

    async def messages() -> AsyncGenerator[int, None]:
        try:
            for number in range(3):
                yield number
        finally:
            ended.set()

    listening = following.in_this_thread(messages())
    assert next(listening) == 0
    listening.close()  # type: ignore[attr-defined]  # an iterator that is a generator
    assert ended.wait(10)
