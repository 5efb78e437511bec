"""The server of tests inside of their own process.

It is loaded by its name: neither package imports the other, and only somebody who tests has both in one
process.
"""

import time
from importlib import import_module
from typing import Final, Protocol

from taskyard.exceptions import ConnectionFailed

_MODULE: Final = "taskyard_controlplane.in_process"


class _InProcess(Protocol):
    """What the module has to have."""

    def wait_ready(self, seconds: float) -> None: ...

    def end(self) -> None: ...

    def set_forward(self, seconds: float) -> None: ...


class ServerInProcess:
    """A server in a thread of this process. Has what `Program` has, as far as that can be."""

    def __init__(self, address: str, database: str, retry_delay_factor: float, forward: float) -> None:
        """Start it with its clock set forward by so many seconds, and do not wait until it serves."""
        start = import_module(_MODULE).InProcess
        self._server: _InProcess = start(address, database, retry_delay_factor, forward)

    def wait_ready(self, deadline: float) -> None:
        """Wait until it serves; `deadline` is by the monotonic clock.

        Raises:
            ConnectionFailed: It does not, and why.
        """
        try:
            self._server.wait_ready(max(0.0, deadline - time.monotonic()))
        except Exception as error:  # whatever keeps a server from starting
            why = "it did not answer in time" if isinstance(error, TimeoutError) else str(error)
            raise ConnectionFailed(f"the yard of the tests could not be started: {why}") from error

    def kill(self) -> None:
        """Stop it. In order: only a process can be ended like by a power cut."""
        self._server.end()

    def set_forward(self, seconds: float) -> None:
        """Set its clock forward, and have it do what is due by then."""
        self._server.set_forward(seconds)
