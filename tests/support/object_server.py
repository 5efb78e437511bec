"""A server that speaks the protocol of S3, built from its source: `go install`, once for each version."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

VERSION = "v1.8.0"
MODULE = "github.com/versity/versitygw/cmd/versitygw"
BUILD_SECONDS = 900.0
START_SECONDS = 30.0
KEY, SECRET = "storekey", "not-to-be-told"


class ObjectServer:
    """A running server."""

    def __init__(self, command: list[str], address: str, files: Path) -> None:
        self.address = address
        self.files = files
        """Where it keeps what it has, one directory for each bucket."""
        self._command = command
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _wait_for(self.address, self._process)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Have no server for a while; it has kept what it had."""
        self.end()
        try:
            yield
        finally:
            self._start()

    def environment(self) -> dict[str, str]:
        """Return what a program needs to use it."""
        return {
            "AWS_ENDPOINT_URL": f"http://{self.address}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }

    def make_bucket(self, name: str) -> str:
        """Make a bucket; returns the URL of a place in it."""
        self.files.joinpath(name).mkdir()
        return f"s3://{name}/yard"

    def unfinished(self, bucket: str) -> list[str]:
        """Return the parts it has of uploads that were neither completed nor removed."""
        return [path.name for path in self.files.joinpath(bucket, ".sgwtmp").rglob("*") if path.is_file()]


def why_missing() -> str:
    """Say why there can be no server; empty when there can."""
    return "" if _binary().exists() or shutil.which("go") else f"there is no Go here, which builds {MODULE}"


@contextmanager
def running_object_server() -> Iterator[ObjectServer]:
    """Run a server whose data are thrown away."""
    with tempfile.TemporaryDirectory(prefix="objects-") as home:
        files, beside = Path(home, "files"), Path(home, "beside")
        for path in (files, beside):
            path.mkdir()
        address = _free_address()
        command = [
            *(str(_built()), "--access", KEY, "--secret", SECRET, "--port", address, "--quiet"),
            *("posix", "--sidecar", str(beside), str(files)),
        ]
        server = ObjectServer(command, address, files)
        try:
            yield server
        finally:
            server.end()


def server_for_tests() -> Iterator[ObjectServer]:
    """Run a server; without one, tests are left out, but not in silence where all of them have to run."""
    why = why_missing()
    if why and os.environ.get("CI"):
        pytest.fail(f"{why}; what is left out there is tested nowhere")
    if why:
        pytest.skip(why)
    with running_object_server() as server:
        yield server


def _binary() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(cache, "taskyard-tests", f"versitygw-{VERSION}", "versitygw")


def _built() -> Path:
    """Return the program, built if nobody has; side by side with others that build it."""
    binary = _binary()
    if not binary.exists():
        binary.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=binary.parent) as fresh:
            subprocess.run(
                ["go", "install", f"{MODULE}@{VERSION}"],
                env={**os.environ, "GOBIN": fresh, "GOFLAGS": "-mod=mod"},
                check=True, timeout=BUILD_SECONDS, stdin=subprocess.DEVNULL,
            )  # fmt: skip
            Path(fresh, "versitygw").replace(binary)
    return binary


def _free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return f"127.0.0.1:{found.getsockname()[1]}"


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    host, port = address.rsplit(":", 1)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the object server ended with {process.returncode}"
        try:
            with socket.create_connection((host, int(port)), timeout=1):
                return
        except OSError:
            time.sleep(0.02)
    raise TimeoutError(f"nothing listens on {address}")
