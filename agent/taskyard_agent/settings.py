"""What an agent is told at its start. Frozen: nothing of it changes while it runs."""

import logging
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from taskyard_agent.holding.admission import COROUTINES_PER_SLOT, MOST_WAITING
from taskyard_contract.programs.home_directory import home_directory

DEFAULT_QUEUE = "default"
DEFAULT_BLOB_BYTES = 2 * 1024**3
DEFAULT_GRACE = 30.0
"""Seconds for running tasks after the first signal: what Kubernetes gives a pod unless told otherwise."""


def home() -> Path:
    """Return the directory for everything Taskyard keeps on this machine."""
    return home_directory(os.environ)


@dataclass(frozen=True)
class Settings:
    """How one agent was started."""

    server: str
    name: str
    slots: int = 1
    queues: tuple[str, ...] = (DEFAULT_QUEUE,)
    labels: Mapping[str, str] = field(default_factory=dict)
    preload: tuple[str, ...] = ()
    serve: tuple[str, ...] = ()
    """Modules whose tasks are served by name."""
    grace: float = DEFAULT_GRACE
    max_waiting: int = MOST_WAITING
    """How many runs may wait for runs of their own; each of them keeps a process."""
    coroutines: int = COROUTINES_PER_SLOT
    """How many async tasks go on together for each slot, beside what takes slots; 0 has them take slots."""
    blob_bytes: int = DEFAULT_BLOB_BYTES
    """How many bytes of large values are kept, of which no run here needs any at the moment."""
    log_level: int = logging.INFO
    state_dir: Path = field(default_factory=home)

    @property
    def agent_id(self) -> str:
        """The agent's identity: the same name on the same machine is the same agent."""
        return f"{socket.gethostname()}/{self.name}"

    @property
    def blob_dir(self) -> Path:
        """Where large payloads are kept."""
        return self._own_dir / "blobs"

    @property
    def bundle_dir(self) -> Path:
        """Where the code of programs on other machines is unpacked."""
        return self._own_dir / "bundles"

    @property
    def _own_dir(self) -> Path:
        safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in self.name)
        return self.state_dir / "agents" / (safe.lstrip(".") or "agent")


def default_name() -> str:
    """Return a name no other agent on this machine has at the moment."""
    return f"{socket.gethostname()}-{os.getpid()}"
