"""A database on a full disk: new work is refused with a typed error, accepted work is not lost.

The disk is real, small, and the server's own.
"""

import errno
import shutil
import signal
import subprocess
from io import FileIO
from pathlib import Path

import pytest
from support.processes import Installation
from support.recorded import Recorded

from taskyard_contract.states import FIRST_FINAL

pytestmark = pytest.mark.acceptance

MIB = 1024 * 1024
# A file system of the server's own: it is gone with the process, whatever happens to the test.
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
MOUNT = f'mount -t tmpfs -o size={24 * MIB} taskyard "$0" && exec "$@"'


def inside(server_pid: int, path: Path) -> Path:
    """Return a path of the server's file system as seen from here."""
    return Path(f"/proc/{server_pid}/root{path}")


def fill(path: Path) -> None:
    """Write a file until nothing more fits."""
    with path.open("wb", buffering=0) as filler:
        while _fits(filler, bytes(4096)):
            continue


def _fits(file: FileIO, data: bytes) -> bool:
    try:
        file.write(data)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False
    return True


def recorded_by(own: Installation, disk: Path) -> Recorded:
    """Read a copy of the database: SQLite cannot open it through /proc."""
    assert own.server is not None
    own.server.send(signal.SIGSTOP)
    for path in inside(own.server.pid, disk).glob("taskyard.db*"):
        shutil.copy(path, own.folder / path.name)
    own.server.send(signal.SIGCONT)
    return Recorded(f"sqlite:///{own.folder / 'taskyard.db'}")


@pytest.fixture
def small_disk(fresh: Installation, tmp_path: Path) -> Path:
    """Put the server's database on a small disk and return where that is."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = [*NAMESPACE, "sh", "-c", MOUNT, str(disk)]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a file system of their own")
    fresh.wrapper["server"] = command
    fresh.database = f"sqlite:///{disk / 'taskyard.db'}"
    return disk


def test_work_goes_on_when_there_is_room_again(fresh: Installation, small_disk: Path) -> None:
    server = fresh.start_server()
    agent = fresh.start_agent(slots=3)
    client = fresh.start_client("persistent")
    fresh.wait_for(lambda: "in flight" in client.output(), 15, "runs in flight")
    filler = inside(server.pid, small_disk / "filler")
    fill(filler)
    fresh.wait_for(lambda: "refused" in client.output(), 30, "a refusal")
    assert server.running, server.describe()
    filler.unlink()
    records = fresh.succeeded(client, 30)
    refused, again = records[1], records[2]
    assert "has no room" in refused["message"]
    assert "make room" in refused["message"]
    assert refused["retry_after"] > 0
    assert again["in_flight"] == ["done", "done"]
    assert server.running, server.describe()
    assert agent.running, agent.describe()
    recorded = recorded_by(fresh, small_disk)
    assert len(recorded.tasks) == again["accepted"] + 2, "a refused run was recorded"
    assert [run for run in recorded.runs if run.state < FIRST_FINAL] == []
