"""Disks that are full, or fail, at each write of a large value, and stores that do not answer.

What can be done again is done again: nothing is lost, nothing half written is left, and what cannot be stored
is refused with an error that says what to do.
"""

import os
import subprocess
from collections import Counter
from pathlib import Path
from typing import Final

import pytest
from acceptance.faults.test_full_disk import MIB, MOUNT, NAMESPACE, fill, inside
from chaos.writes.places import FAR, NEAR, OBJECTS, Place
from chaos.writes.steps import CONTENT, RESULT
from chaos.writes.stored import Stored
from chaos.writes.test_kills import EXPECTED, NUMBERS, SECONDS
from support.failpoints import Failpoint
from support.object_server import ObjectServer
from support.processes import Installation
from support.recorded import Recorded

pytestmark = pytest.mark.timeout(300)
COMING: Final = "(deleted)"
"""What the system calls a file that has no name yet."""


def full(function: str, about: str, number: int = 1, times: int = 1) -> Failpoint:
    return Failpoint(function, "before", about, number, "ENOSPC", times)


def broken(function: str, about: str, number: int = 1, times: int = 1) -> Failpoint:
    return Failpoint(function, "before", about, number, "EIO", times)


RETRIED: Final = {
    "near-a-worker-on-a-full-disk": (NEAR, "agent-first", full("os:writev", RESULT, 3), 2),
    "near-a-worker-whose-sync-fails": (NEAR, "agent-first", broken("os:fdatasync", RESULT, 5), 2),
    "far-a-worker-on-a-full-disk": (FAR, "agent-first", full("os:writev", RESULT, 3), 2),
    "far-an-agent-without-room-for-inputs": (FAR, "agent-first", full("os:open", CONTENT, times=3), 1),
    "far-a-server-on-a-full-disk": (FAR, "server", full("os:fdatasync", COMING, 3, 3), 1),
    "far-a-server-whose-sync-fails": (FAR, "server", broken("os:fdatasync", COMING, 3, 3), 1),
    "far-a-server-that-cannot-name-what-came": (FAR, "server", broken("os:replace", RESULT), 1),
    "far-a-server-on-a-full-disk-for-an-argument": (FAR, "server", broken("os:fdatasync", COMING, 1, 2), 1),
    "far-a-server-whose-disk-is-not-read": (FAR, "server", broken("os:pread", RESULT, 40, 2), 1),
}


@pytest.mark.chaos
@pytest.mark.parametrize(
    ("place", "name", "point", "made"),
    [pytest.param(*case, id=name) for name, case in RETRIED.items()],
    indirect=["place"],
)
def test_what_a_disk_does_not_take_at_first(place: Place, name: str, point: Failpoint, made: int) -> None:
    place.fail(name, point)
    running = place.running
    server, agent = running.start_server(), running.start_agent()
    records = running.succeeded(running.start_client("values", NUMBERS), SECONDS)
    assert records == [EXPECTED]
    assert place.failing.met(point) == point.times
    assert Counter(running.history.read_text().split()) == {"make": made, "look": 1}
    assert (server.running, agent.running) == (True, True)
    check_store(place)


def check_store(place: Place) -> None:
    place.running.stop_server()
    stored = Stored(place.files, shared=place.kind == NEAR)
    stored.check()
    assert stored.orphans(Recorded(place.running.database)) == []
    assert stored.unfinished() == []


@pytest.mark.chaos
@pytest.mark.parametrize("place", [NEAR], indirect=True)
@pytest.mark.parametrize(
    ("point", "error", "advice"),
    [(full("os:writev", CONTENT, 2), "StorageFull", "make room on the disk"),
     (broken("os:fdatasync", CONTENT, 2), "StorageUnavailable", "could not be stored")],
    ids=["full", "broken"],
)  # fmt: skip
def test_an_argument_that_cannot_be_stored(place: Place, point: Failpoint, error: str, advice: str) -> None:
    """The program is told, and nothing is left of it."""
    place.fail("values", point)
    running = place.running
    running.start_server()
    running.start_agent()
    refused = running.start_client("values", NUMBERS)
    assert running.exit_code(refused, SECONDS) == 1
    assert error in refused.errors()
    assert advice in refused.errors()
    assert running.succeeded(running.start_client("values", NUMBERS), SECONDS) == [EXPECTED]
    running.stop_server()
    assert Stored(place.files, shared=True).unfinished() == []


@pytest.mark.chaos
@pytest.mark.parametrize("place", [FAR], indirect=True)
def test_results_wait_for_room_in_the_store_while_the_database_goes_on(place: Place, tmp_path: Path) -> None:
    """A real disk, small and the server's own: its agents are elsewhere, as they do not see it."""
    disk, running = tmp_path / "disk", place.running
    disk.mkdir()
    command = [*NAMESPACE, "sh", "-c", MOUNT.replace(str(24 * MIB), str(100 * MIB)), str(disk)]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a file system of their own")
    running.wrapper["server"] = command
    server = running.start_server("--blobs", str(disk / "blobs"))
    agent = running.start_agent()
    filler = inside(server.pid, disk / "filler")
    fill(filler)
    os.truncate(filler, filler.stat().st_size - 8 * MIB)  # so much is there for the program's source
    client = running.start_client("values", NUMBERS)
    running.wait_for(lambda: executed(running)["make"], SECONDS, "a result")
    others = running.start_client("bulk", 200, 200, 0.1, HISTORY=str(tmp_path / "others"))
    assert len(running.succeeded(others, SECONDS)) == 400
    assert client.running, client.describe()
    filler.unlink()
    assert running.succeeded(client, SECONDS) == [EXPECTED]
    assert executed(running)["make"] == 1
    assert (server.running, agent.running) == (True, True)


def executed(running: Installation) -> Counter[str]:
    return Counter(running.history.read_text().split() if running.history.exists() else ())


@pytest.mark.objects
@pytest.mark.parametrize("place", [OBJECTS], indirect=True)
@pytest.mark.parametrize("moment", ["make", "look"])
def test_a_store_that_does_not_answer_for_a_while(
    place: Place, object_server: ObjectServer, moment: str
) -> None:
    """Results wait for it, and so does who reads them; nothing is executed again."""
    running = place.running
    running.start_server()
    agent = running.start_agent()
    client = running.start_client("values", NUMBERS)
    running.wait_for(lambda: executed(running)[moment], SECONDS, "an execution")
    with object_server.away():
        if moment == "make":
            running.wait_for(lambda: "is not taken by the store" in agent.errors(), SECONDS, "it waits")
    assert running.succeeded(client, SECONDS) == [EXPECTED]
    assert executed(running) == {"make": 1, "look": 1}
    check_store(place)
