"""The local yard: control plane and agent in the background, for programs that name no server.

Invariant: programs that start at the same moment share one yard; it belongs to nobody and ends by itself
when it has been idle for a while.
"""

import fcntl
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from taskyard import settings
from taskyard.exceptions import ConnectionFailed
from taskyard_contract.programs.home_directory import (
    YARD_DATABASE,
    YARD_SOCKET,
    HomeUnusable,
    make_home,
    yard_address,
)
from taskyard_contract.programs.private_files import opener

START_SECONDS: Final = 20.0
"""A yard starts in half a second; a cold disk and a busy machine may take this long."""
_FIRST_POLL: Final = 0.002
"""A yard that is about to listen does so at once; the pause grows from here."""
_LONGEST_POLL: Final = 0.02
"""Looking is a connect to a file, so it is cheap, and each look too late is felt by somebody who waits."""
_TAIL_LINES: Final = 15
"""Of a log, for whoever asks why no yard came up: a short traceback, or the last complaint."""
_LONGEST_SOCKET_PATH: Final = 100
"""The kernel takes 107 bytes; the rest is for what is put beside the socket while it is made."""


def has_yard(directory: Path) -> bool:
    """Say whether there has ever been a yard in a directory: its runs are still there, it can be started."""
    return (directory / YARD_DATABASE).exists()


def ensure_yard() -> str:
    """Return the address of the local yard, started if it does not run.

    Raises:
        ConnectionFailed: It does not start; the end of its log, or what is wrong with the directory, is in
            the message.
    """
    home = settings.home()
    path = home / YARD_SOCKET
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise ConnectionFailed(f"{path} is too long for a socket; set {settings.HOME} to a shorter directory")
    if not _accepts(path):
        try:
            _start_once(home, path)
        except HomeUnusable as error:
            raise ConnectionFailed(
                f"{error}, or TASKYARD_SERVER to the address of a running server"
            ) from None
        except OSError as error:
            raise ConnectionFailed(
                f"the local yard cannot use its directory {home} ({error.strerror}: {error.filename}); set"
                f" {settings.HOME} to a directory in which files can be made, or TASKYARD_SERVER to the"
                " address of a running server"
            ) from None
    return yard_address(home)


def _start_once(home: Path, path: Path) -> None:
    """Start the yard, unless another program does so at the same moment."""
    make_home(home)
    with _start_lock(home):
        # Whoever held the lock before may have started it.
        if not _accepts(path):
            _start(home, path)


def _accepts(path: Path) -> bool:
    """Say whether somebody listens on a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


@contextmanager
def _start_lock(home: Path) -> Iterator[None]:
    with open(home / "start.lock", "ab", opener=opener) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


AS_IT_IS: Final = ("/bin/sh", "-c", 'exec "$0" "$@"')
"""Before a command: debuggers start Python in themselves when a program that they debug does, and the yard is
none of it."""


def _start(home: Path, path: Path) -> None:
    log_path = home / "yard.log"
    before = log_path.stat().st_size if log_path.exists() else 0
    with open(log_path, "ab", opener=opener) as log:
        process = subprocess.Popen(
            [*AS_IT_IS, sys.executable, "-m", "taskyard_controlplane", "yard", "--home", str(home)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home,
            # Ctrl-C in this terminal is meant for the program, not for the yard that others use too.
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS
    pause = _FIRST_POLL
    while not _accepts(path):
        code = process.poll()
        if code is not None and not _accepts(path):
            raise _not_started(f"it ended with exit code {code}", log_path, before)
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise _not_started(f"it did not answer within {START_SECONDS:g} seconds", log_path, before)
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_POLL)
    # The yard outlives this program, so nobody waits for its end.
    process.returncode = 0


def _not_started(why: str, log_path: Path, start: int) -> ConnectionFailed:
    with open(log_path, "rb") as log:
        log.seek(start)
        lines = log.read().decode("utf-8", "replace").splitlines()[-_TAIL_LINES:]
    text = "\n  ".join(lines) if lines else "(it wrote nothing)"
    return ConnectionFailed(
        f"the local yard could not be started: {why}. Do what the end of its log asks for, or set"
        f" TASKYARD_SERVER to the address of a running server. The end of {log_path}:\n  {text}"
    )
