"""After each end of a stream it is said whether, where and when to connect again."""

import pytest

from taskyard_contract.errors import (
    ConnectionFailed,
    InvalidRequest,
    NamespaceNotFound,
    NotOwner,
    Overloaded,
    PermissionDenied,
    ServerStopping,
    Superseded,
    TaskyardError,
    Unauthenticated,
    UnknownSession,
    UnsupportedProtocol,
)
from taskyard_contract.transport.reconnecting import (
    FIRST_DELAY,
    LONGEST_DELAY,
    MOST_REDIRECTS,
    WORKING_SECONDS,
    Reconnecting,
    Retry,
)


class World:
    """Time that is turned, and draws that are always the same part of what is possible."""

    def __init__(self, part: float = 1.0) -> None:
        self.now = 100.0
        self.bounds: list[tuple[float, float]] = []
        self._part = part
        self.peer = Reconnecting(lambda: self.now, self._draw)

    def _draw(self, least: float, most: float) -> float:
        self.bounds.append((least, most))
        return least + (most - least) * self._part

    def stream(self, lasted: float, error: TaskyardError) -> Retry | None:
        self.peer.welcomed()
        self.now += lasted
        return self.peer.failed(error)


LOST = ConnectionFailed("gone", retry_after=1.0)


def owner(address: str) -> NotOwner:
    return NotOwner("not mine", address=address)


@pytest.mark.parametrize(
    "kind",
    [InvalidRequest, NamespaceNotFound, PermissionDenied, Superseded, Unauthenticated, UnsupportedProtocol],
)
def test_what_the_next_attempt_would_meet_again_ends_it(kind: type[TaskyardError]) -> None:
    assert World().peer.failed(kind()) is None
    assert World().stream(60.0, kind()) is None


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (LOST, 0.0),
        (ConnectionFailed("never reached"), 0.0),
        (TaskyardError("closed"), 0.0),
        (UnknownSession("say hello again"), 0.0),
        (owner(""), 0.0),
        (ServerStopping("restarting", retry_after=0.5), 0.5),
        (Overloaded("later", retry_after=2.0), 2.0),
    ],
)
@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_a_pause_is_what_the_server_asks_for_and_chance_up_to_as_much_again(
    error: TaskyardError, asked: float, part: float
) -> None:
    assert World(part).peer.failed(error) == Retry(asked + part * (asked or FIRST_DELAY), "", 1)


def test_a_pause_that_was_asked_for_is_spread_no_less_than_that_of_a_server_that_says_nothing() -> None:
    world = World(1.0)
    for _ in range(10):
        world.peer.failed(LOST)
    retry = world.peer.failed(ServerStopping("restarting", retry_after=0.5))
    assert retry is not None
    assert retry.delay == 0.5 + LONGEST_DELAY


def test_the_bound_of_the_pause_doubles_up_to_the_longest() -> None:
    world = World()
    retries = [world.peer.failed(LOST) for _ in range(100)]
    delays = [retry.delay for retry in retries if retry]
    assert delays[:6] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, LONGEST_DELAY])
    assert set(delays[5:]) == {LONGEST_DELAY}
    assert [retry.failures for retry in retries if retry] == list(range(1, 101))
    assert {least for least, _ in world.bounds} == {0.0}


@pytest.mark.parametrize(
    ("lasted", "failures"), [(0.0, 4), (WORKING_SECONDS - 0.01, 4), (WORKING_SECONDS, 1), (3600.0, 1)]
)
def test_only_a_stream_that_worked_for_a_while_makes_the_next_failure_the_first(
    lasted: float, failures: int
) -> None:
    world = World()
    for _ in range(3):
        world.peer.failed(LOST)
    retry = world.stream(lasted, LOST)
    assert retry is not None
    assert retry.failures == failures


def test_an_attempt_that_fails_does_not_count_the_stream_before_as_working() -> None:
    world = World()
    world.stream(60.0, LOST)
    world.now += 60.0
    retry = world.peer.failed(LOST)
    assert retry is not None
    assert retry.failures == 2


def test_the_owner_that_a_server_names_is_asked_at_once_and_once() -> None:
    world = World()
    world.peer.failed(LOST)
    assert world.peer.failed(owner("10.0.0.2:4700")) == Retry(0.0, "10.0.0.2:4700", 1)
    after = world.peer.failed(LOST)
    assert after is not None
    assert (after.address, after.failures) == ("", 2)


def test_servers_that_name_each_other_are_not_asked_in_a_circle() -> None:
    world = World()
    answers = [world.peer.failed(owner(f"10.0.0.{number % 2}:4700")) for number in range(8)]
    assert [bool(answer and answer.address) for answer in answers] == ([True] * MOST_REDIRECTS + [False]) * 2
    assert [bool(answer and answer.delay) for answer in answers] == ([False] * MOST_REDIRECTS + [True]) * 2


def test_a_welcome_allows_redirects_again() -> None:
    world = World()
    for _ in range(MOST_REDIRECTS):
        world.peer.failed(owner("10.0.0.2:4700"))
    assert world.stream(0.0, owner("10.0.0.3:4700")) == Retry(0.0, "10.0.0.3:4700", 0)


def test_pauses_are_drawn_differently_by_each_peer() -> None:
    delays = {retry.delay for _ in range(20) if (retry := Reconnecting().failed(LOST))}
    assert len(delays) == 20
    assert max(delays) <= FIRST_DELAY
