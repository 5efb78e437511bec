"""Keeps the data process, from the first moment on at which somebody could use it.

Where all peers see the store's directory nobody does, so nothing is started with the control plane. The port
is listened on from then on: one that is in use is noticed at once, and each data process gets it.

Invariant: the control plane lacks nothing without a data process; grants are not given while there is none.
"""

import logging
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from taskyard_controlplane.child_keeper import ChildKeeper
from taskyard_controlplane.data_process.instructions import Instructions

MODULE: Final = "taskyard_controlplane.data_process"
READY_SECONDS: Final = 30.0
"""For a data process to begin. It takes a quarter of a second where there is a processor for it."""

_log = logging.getLogger(__name__)


class DataKeeper(ChildKeeper):
    """Keeps a data process while it is entered, once it was asked for."""

    def __init__(
        self,
        listener: socket.socket,
        directory: Path,
        key: bytes,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Keep a process that serves the blobs of a directory to those that a key lets in.

        Args:
            listener: Listens; closed at the end.
            directory: Where blobs are.
            key: Known to this process and the one that is kept.
            environment: Adds to what this process has.
        """
        super().__init__("the data process")
        self._listener = listener
        self._environment = {**os.environ, **(environment or {})}
        level = logging.getLogger().getEffectiveLevel()
        self._instructions = Instructions(directory, key, listener.fileno(), level, os.getpid())
        self._is_ready = threading.Event()
        self._asked = threading.Lock()

    def __enter__(self) -> Self:
        """Start nothing yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process, if there is one, and make sure of it."""
        self.end()  # one that is asked for at this moment begins no more
        if self._thread.ident is not None:
            super().__exit__(kind, error, trace)
        self._listener.close()

    def is_ready(self, seconds: float = 0.0) -> bool:
        """Whether the process serves; asked for the first time, it is started.

        Args:
            seconds: How long to wait for it.
        """
        if self._is_ready.is_set():
            return self.pid is not None
        if self._asked.acquire(blocking=False):
            self.start()
        return self._is_ready.wait(seconds)

    def begin(self) -> "subprocess.Popen[bytes]":
        """Start the process.

        Without anything to be called in the child, because Python forks for that. gRPC, which serves in this
        process, stops its threads around a fork, and loses connections that are being made.

        Raises:
            OSError: It could not be started now.
        """
        return subprocess.Popen(
            [sys.executable, "-m", MODULE],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[self._listener.fileno()],
            start_new_session=True,  # Ctrl-C is for the control plane, which ends it in order
        )

    def attend(self, process: "subprocess.Popen[bytes]") -> None:
        """Tell the process what to do, and wait for its end; who keeps its pipe open is alive."""
        assert process.stdin is not None
        assert process.stdout is not None
        with process.stdin, process.stdout:
            with suppress(BrokenPipeError):  # it has ended already
                process.stdin.write(self._instructions.line())
                process.stdin.flush()
            if not select.select([process.stdout], [], [], READY_SECONDS)[0]:
                _log.warning("the data process did not begin within %g s and is killed", READY_SECONDS)
                process.kill()
            elif process.stdout.read(1):
                _log.info("the data process %d serves blobs on port %d", process.pid, self.port)
                self._is_ready.set()
            process.wait()
            self._is_ready.clear()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])
