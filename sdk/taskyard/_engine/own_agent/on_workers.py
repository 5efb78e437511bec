"""Agents on the workers of a cluster that somebody else made: Dask's, or Ray's.

An `Order` travels to the workers, and each starts an agent by it, which serves the queue of one flow run and
ends with the worker. `Ordered` is what the program knows of them.

Invariant: the cluster only lends its machines. Runs are given out, and given out again, by the control plane:
a worker that is lost is to it an agent that is lost.
"""

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Final
from uuid import uuid4

from taskyard._engine.own_agent.process import OwnAgent
from taskyard._network.session.session import Session
from taskyard.exceptions import TaskyardError
from taskyard.logging import get_logger

REACH_SECONDS: Final = 10.0
"""How long a worker tries to reach the control plane, before it says that it cannot."""
_UNIX: Final = "unix:"
_THIS_MACHINE: Final = ("localhost", "127.", "[::1]")


@dataclass(frozen=True)
class Order:
    """What a worker is told: it is pickled by reference, so workers have this release as well."""

    server: str
    """The address of the control plane, as the program has it."""
    queue: str
    """What the agents serve."""

    def fulfil(self, slots: int, failed: Callable[[str, str], object]) -> OwnAgent:
        """Start an agent in this process, a worker of the cluster.

        Args:
            slots: How many runs it executes at the same time.
            failed: Called with the reason, and the end of its log, when it could not be started, or ends by
                itself.
        """
        name = f"{self.queue}-{uuid4().hex[:12]}"
        return OwnAgent(self.server, self.queue, name, slots, None, failed, self._reach)

    def _reach(self) -> None:
        """Make sure that the control plane can be reached from here.

        Raises:
            OSError: It cannot; the message says what to do.
        """
        try:
            _connect(self.server)
        except OSError as error:
            hint = "look at the network between them"
            if self.server.startswith((_UNIX, *_THIS_MACHINE)):
                hint = (
                    "that address is for one machine only; start a server that others reach, 'taskyard"
                    " server start --listen 0.0.0.0:PORT', and set TASKYARD_SERVER to its HOST:PORT"
                )
            where = f"from {socket.gethostname()} to the control plane at {self.server}"
            raise OSError(f"no connection {where}: {error}; {hint}") from None


class Ordered:
    """The agents of one flow run on the workers of a cluster, as the program hears of them."""

    def __init__(self, session: Session, kind: str) -> None:
        """Name their queue.

        Args:
            session: Whose runs; it fails when no worker is left that could execute them.
            kind: The cluster's, for people: "dask" or "ray".
        """
        self.order = Order(session.locate(), f"{kind}-{session.session_id.hex()}-{next(_numbers)}")
        self._session, self._kind = session, kind
        self._working: set[str] = set()
        self._failed: dict[str, str] = {}
        self._lock = threading.Lock()

    def on(self, worker: str) -> None:
        """Hear that a worker has the order."""
        with self._lock:
            self._working.add(worker)
            self._failed.pop(worker, None)

    def lost(self, worker: str) -> None:
        """Hear that a worker is gone. The cluster may bring another one, so this fails nothing."""
        with self._lock:
            self._working.discard(worker)

    def failed(self, worker: str, how: str, log: str) -> None:
        """Hear that the agent of a worker could not be started, or has ended by itself."""
        with self._lock:
            self._working.discard(worker)
            self._failed[worker] = how
            left = len(self._working)
        said = f"the agent on {self._kind} worker {worker} {how}"
        said += f". The end of its log:{log}\n" if log else ""
        if left:
            get_logger(f"task_runner.{self._kind}").warning("%s; %d other(s) go on", said, left)
        else:
            self.fail(f"{said}; there is no other, so runs cannot be executed")

    def fail(self, why: str) -> None:
        """Give up: nobody executes the runs, and nobody will."""
        self._session.fail(TaskyardError(why))


def _connect(server: str) -> None:
    if server.startswith(_UNIX):
        path = server.removeprefix(_UNIX)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(REACH_SECONDS)
            connection.connect(path.removeprefix("//"))
        return
    from taskyard_contract.transport.channels import target_of  # imports gRPC

    host, _, port = target_of(server).rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()


_numbers = count()
