"""Values in object storage, from task to task and to the program."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
from support.object_server import SECRET, ObjectServer, server_for_tests
from support.programs import Stage

pytestmark = pytest.mark.objects

LARGE = """
from taskyard import flow, task

@task
def make(size):
    return bytes(size)

@task
def size(value):
    return len(value)

@flow
def main():
    made = make.submit(20_000_000)
    return size.submit(made).result(), size.submit(b"x" * 10_000_000).result(), len(made.result())

print(main())
"""
SIZES = "(20000000, 10000000, 20000000)"


@pytest.fixture(scope="module")
def object_server() -> Iterator[ObjectServer]:
    yield from server_for_tests()


@pytest.fixture
def bucket(stage: Stage, object_server: ObjectServer) -> Path:
    """The files of a bucket that the server of this stage uses."""
    stage.environment.update(object_server.environment())
    name = f"bucket-{uuid4().hex}"
    stage.environment["TASKYARD_BLOBS"] = object_server.make_bucket(name)
    return object_server.files / name / "yard"


def stored(bucket: Path) -> list[int]:
    return sorted(path.stat().st_size for path in bucket.glob("[br][3u]*"))


def test_large_values_go_to_the_bucket_and_come_back(stage: Stage, bucket: Path):
    server = stage.serve()
    worker = stage.work("--slots", "2")
    done = stage.run_script(LARGE)
    assert done.stdout.strip() == SIZES, done.stderr
    argument, result = stored(bucket)
    assert 10_000_000 < argument < 10_001_000
    assert 20_000_000 < result < 20_001_000
    for hidden in (SECRET, "X-Amz-Signature"):
        assert hidden not in server.log + worker.log + done.stderr


def test_agents_need_nothing_but_the_server_to_use_the_bucket(stage: Stage, bucket: Path):
    stage.serve()
    for name in list(stage.environment):
        if name.startswith("AWS_"):
            del stage.environment[name]
    worker = stage.work("--slots", "2")
    done = stage.run_script(LARGE)
    assert done.stdout.strip() == SIZES, done.stderr
    assert "blobs go through the control plane" not in worker.log


@pytest.mark.parametrize("options", [["--object-endpoint", "http://127.0.0.1:1"], ["--no-direct-transfers"]])
def test_values_pass_the_server_where_the_bucket_cannot_be_reached(
    stage: Stage, bucket: Path, options: list[str]
):
    stage.serve(*options)
    worker = stage.work("--slots", "2")
    done = stage.run_script(LARGE)
    assert done.stdout.strip() == SIZES, done.stderr
    assert len(stored(bucket)) == 2
    tried = "blobs go through the control plane for a minute: 127.0.0.1:1 cannot be reached" in worker.log
    assert tried == (options[0] == "--object-endpoint")


KILLED = """
from taskyard import flow, task

@task(retries=0)
def make(size):
    return bytes(size)

@flow
def main():
    return len(make.submit(200_000_000).result())

print(main())
"""


def place_in_result(pid: int) -> int:
    """Return how far a process has read a result that it has open; -1 if it has none."""
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            if "/run-" in os.readlink(descriptor):
                return int(Path(f"/proc/{pid}/fdinfo/{descriptor.name}").read_text().split()[1])
    return -1


def test_an_agent_that_is_killed_while_it_sends_a_result(stage: Stage, bucket: Path):
    stage.serve("--agent-lease", "2")
    worker = stage.work("--slots", "1")
    program = stage.start_script(KILLED)
    until, read = time.monotonic() + 60, False
    while not (read and place_in_result(worker.process.pid) == 0):  # read, and then sent by the kernel
        read = read or place_in_result(worker.process.pid) > 0
        assert time.monotonic() < until
    worker.end(signal.SIGKILL)
    stage.work("--slots", "1")
    assert program.line(120.0) == "200000000"
    assert all(size > 200_000_000 for size in stored(bucket)), "of what was cut off nothing is to be seen"


def test_a_server_without_its_bucket_says_so(stage: Stage, bucket: Path):
    refused = stage.call("server", "start", "--blobs", "s3://no-such-bucket/yard", "--listen", "127.0.0.1:0")
    assert refused.returncode == 5
    assert "there is no bucket for s3://no-such-bucket/yard" in refused.stderr
    assert "Traceback" not in refused.stderr
