"""Who is let in: nobody but who was given a path, for what it says, as long as it says."""

import pytest

from taskyard_contract.errors import PermissionDenied
from taskyard_controlplane.data_process.tickets import Seal, Ticket

NAME = "b3-" + "0a" * 32


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def seal(clock: Clock) -> Seal:
    return Seal(b"k" * 32, clock)


def test_a_path_lets_in_for_what_was_signed(seal: Seal) -> None:
    path = seal.path("PUT", NAME, 2**40, 2**64 - 1, 300)
    assert seal.ticket("PUT", path) == Ticket("PUT", NAME, 2**40, 2**64 - 1, 1_300_000)


def test_another_process_with_the_key_understands_it(seal: Seal, clock: Clock) -> None:
    assert Seal(b"k" * 32, clock).ticket("GET", seal.path("GET", NAME, 1, 0, 300)).name == NAME


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", ""])
def test_a_path_to_write_is_none_to_read(seal: Seal, method: str) -> None:
    with pytest.raises(PermissionDenied, match="another grant"):
        seal.ticket(method, seal.path("PUT", NAME, 1, 0, 300))


def test_a_path_ends_with_its_time(seal: Seal, clock: Clock) -> None:
    path = seal.path("GET", NAME, 1, 0, 300)
    clock.now += 299.9
    seal.ticket("GET", path)
    clock.now += 0.2
    with pytest.raises(PermissionDenied, match="expired"):
        seal.ticket("GET", path)


def test_the_key_of_another_start_lets_nobody_in(seal: Seal, clock: Clock) -> None:
    with pytest.raises(PermissionDenied, match="started again"):
        Seal(b"other" * 8, clock).ticket("GET", seal.path("GET", NAME, 1, 0, 300))


def test_every_other_character_makes_another_path(seal: Seal) -> None:
    path = seal.path("GET", NAME, 12, 34, 300)
    for position, character in enumerate(path):
        other = "1" if character != "1" else "2"
        with pytest.raises(PermissionDenied):
            seal.ticket("GET", path[:position] + other + path[position + 1 :])


@pytest.mark.parametrize(
    "path",
    ["", "/", "*", "/b/", "/b/../x", "http://host/b/x", "/b/\u0661", "/b/" + "x" * 100_000, "/healthz"],
)
def test_what_is_no_such_path_is_refused(seal: Seal, path: str) -> None:
    with pytest.raises(PermissionDenied, match="nothing here"):
        seal.ticket("GET", path)


def test_what_follows_a_path_is_no_part_of_it(seal: Seal) -> None:
    path = seal.path("GET", NAME, 12, 34, 300)
    for more in ("0", "&size=1", "#x", "\n", " ", "\0"):
        with pytest.raises(PermissionDenied):
            seal.ticket("GET", path + more)
