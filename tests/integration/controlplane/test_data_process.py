"""The data process itself: started when it is needed, gone with its parent, and back when it was killed."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from support.data_server import SECONDS, content, everything
from support.processes import PROGRAMS, TESTS, is_alive

from taskyard_contract.blobs.directory import BlobDirectory
from taskyard_controlplane.blobs.directory import DirectoryStore
from taskyard_controlplane.data_process import grants as data_grants
from taskyard_controlplane.data_process import keeper as data_keeper
from taskyard_controlplane.data_process.grants import DataGrants, DataPort
from taskyard_controlplane.rpc.addresses import AddressInUse

DATA = bytes(8 * 1024 * 1024)
READY_SECONDS = 60.0


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    BlobDirectory(tmp_path / "blobs").make()
    return tmp_path / "blobs"


@pytest.fixture
def grants(directory: Path) -> Iterator[DataGrants]:
    with DataPort("127.0.0.1:0").grants(directory) as grants:
        yield grants


def eventually(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + READY_SECONDS
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def asks(port: int, method: str, path: str, body: bytes = b"", sent: int | None = None) -> socket.socket:
    """Send a request, or so many bytes of its body."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=READY_SECONDS)
    length = f"Content-Length: {len(body)}\r\n" if method == "PUT" else ""
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{length}\r\n"
    connection.sendall(head.encode() + body[:sent])
    return connection


def test_it_is_started_by_the_first_grant_and_serves(grants: DataGrants) -> None:
    assert grants.keeper.pid is None
    grants.write(content(b"small"))  # does not wait for it
    eventually(grants.keeper.is_ready)
    write = grants.write(content(DATA))
    assert write is not None
    assert not write.confirm
    with asks(write.port, "PUT", write.url, DATA) as connection:
        assert everything(connection).startswith(b"HTTP/1.1 201 ")
    read = grants.read(content(DATA))
    assert read is not None
    with asks(read.port, "GET", read.url) as connection:
        assert everything(connection).endswith(b"\r\n\r\n" + DATA)


def test_it_is_started_without_a_fork(grants: DataGrants) -> None:
    """Around a fork gRPC stops its threads, which others have connections on."""
    forks = []
    os.register_at_fork(before=lambda: forks.append(1))
    assert grants.keeper.is_ready(READY_SECONDS)
    assert forks == []


def test_a_large_blob_waits_for_its_start(grants: DataGrants, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_grants, "START_SECONDS", READY_SECONDS)
    assert grants.write(content(bytes(32 * 1024 * 1024))) is not None


def test_it_gives_way_and_nobody_can_read_its_key(grants: DataGrants) -> None:
    assert grants.keeper.is_ready(READY_SECONDS)
    process = psutil.Process(grants.keeper.pid)
    assert process.nice() >= 10 - psutil.Process().nice()
    key = grants._seal._key.hex()
    assert key not in " ".join(process.cmdline())
    assert key not in " ".join(process.environ().values())


def test_it_is_started_again_and_grants_stay_good(grants: DataGrants) -> None:
    assert grants.keeper.is_ready(READY_SECONDS)
    write = grants.write(content(DATA))
    assert write is not None
    killed = grants.keeper.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: grants.keeper.pid not in (None, killed) and grants.keeper.is_ready())
    with asks(write.port, "PUT", write.url, DATA) as connection:
        assert everything(connection).startswith(b"HTTP/1.1 201 ")


def test_while_it_is_away_nothing_is_granted(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_keeper, "MODULE", "no_such_module")
    with DataPort("127.0.0.1:0").grants(directory) as grants:
        assert not grants.keeper.is_ready(0.5)
        assert grants.read(content(b"data")) is None


def writes_into(directory: Path, pid: int) -> bool:
    """Whether a process has a file in a directory open, also one that has no name."""
    found = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.add(each.readlink())
    return any(link.is_relative_to(directory) for link in found)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_end_within_an_upload_leaves_nothing(
    grants: DataGrants, directory: Path, number: signal.Signals
) -> None:
    assert grants.keeper.is_ready(READY_SECONDS)
    write = grants.write(content(DATA))
    assert write is not None
    pid = grants.keeper.pid
    assert pid is not None
    with asks(write.port, "PUT", write.url, DATA, 5_000_000) as connection:
        eventually(lambda: writes_into(directory, pid))
        os.kill(pid, number)
        everything(connection)
    eventually(lambda: not is_alive(pid))
    assert list(DirectoryStore(directory).list()) == []


def test_it_goes_with_its_parent(directory: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    command = [sys.executable, str(PROGRAMS / "with_data_process.py"), str(directory)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, port, path = parent.stdout.readline().split()
        assert is_alive(int(pid))
        with asks(int(port), "PUT", path, DATA, 1_000_000) as connection:
            parent.kill()
            connection.settimeout(SECONDS)
            assert everything(connection) == b""
        eventually(lambda: not is_alive(int(pid)))


def test_a_port_that_is_in_use_is_noticed_at_once() -> None:
    port = DataPort("127.0.0.1:0")
    with pytest.raises(AddressInUse):
        DataPort(port.address)
    port.close()
