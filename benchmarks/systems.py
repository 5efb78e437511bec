"""What a system must offer to be measured; the workloads know nothing else about it.

Each system is driven from a process of its own, so the driver is the client whose CPU is counted.
"""

import os
import platform
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import ClassVar, TypeVar

from benchmarks import cpu
from benchmarks.processes import Processes

T = TypeVar("T")


@dataclass(frozen=True)
class Program:
    """A fresh client program for W3."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)


class System(ABC):
    """One system under measurement: started, driven and stopped by the driver process."""

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    workloads: ClassVar[tuple[str, ...]] = ("W1", "W2", "W3", "W4")
    """What it is measured by; W6 and W8 need futures as arguments."""
    bulk_variants: ClassVar[tuple[str, ...]] = ("map", "submit")
    """The ways this system takes many tasks; the first is its best."""
    most_bulk: ClassVar[int] = 10_000_000
    most_round_trips: ClassVar[int] = 10_000
    most_width: ClassVar[int] = 10_000
    most_graph: ClassVar[int] = 10_000_000
    most_rounds: ClassVar[int] = 100
    """A slow system is measured with fewer runs; results say with how many."""
    down_variants: ClassVar[tuple[str, ...]] = ()
    """The ways W3 finds nothing running; none where a client cannot start the system."""
    down_database: ClassVar[str] = "none"

    def __init__(self) -> None:
        self.database = "none"
        self.processes = Processes()

    @abstractmethod
    def start(self) -> None:
        """Start everything and connect; on return the first task can be submitted."""

    @abstractmethod
    def bulk(self, variant: str, n: int) -> None:
        """Submit n no-op tasks and wait for every result."""

    @abstractmethod
    def round_trip(self, value: int) -> int:
        """Submit one task that returns its argument and wait for it."""

    @abstractmethod
    def map_reduce(self, width: int) -> int:
        """Map identity over range(width), then sum the results in one more task."""

    def move(self, count: int, size: int) -> list[float]:
        """Have each of so many arrays made by one task and read by another; return what was read."""
        raise NotImplementedError(f"{self.name} does not list W6")

    def share(self, count: int, size: int) -> list[float]:
        """Give one array of the client's to so many tasks, which read it; return what was read."""
        raise NotImplementedError(f"{self.name} does not list W6")

    def graph(self, layers: int, width: int) -> list[int]:
        """Submit layers of tasks that add two of the layer before; return the values of the last one."""
        raise NotImplementedError(f"{self.name} does not list W8")

    def stored_mb(self) -> float | None:
        """Return how much it has on disk, or None where it keeps nothing there."""
        return None

    def prune(self) -> bool:
        """Remove what is stored and needed no more; says whether there is such a command."""
        return False

    @abstractmethod
    def roles(self) -> dict[str, list[int]]:
        """Return the processes now alive by role; the client's is this process."""

    @abstractmethod
    def settings(self) -> dict[str, str]:
        """Say how durable it is, and what else decides the figures."""

    def stop(self) -> None:
        """Disconnect and end every process that `start` started."""
        self.processes.__exit__(None, None, None)
        self.processes = Processes()

    def inside(self, body: Callable[[], T]) -> T:
        """Run a measurement in the place where this system's users submit tasks."""
        return body()

    def first_result_up(self) -> Program | None:
        """Return the W3 program for a running system, or None when W3 means nothing here."""
        return None

    def first_result_down(self, variant: str) -> Program:
        """Return the W3 program for nothing running, in one of `down_variants`."""
        raise NotImplementedError(f"{self.name} lists no way to be down, so W3 must not ask for {variant!r}")

    def clean_up_after(self, program: Program) -> None:
        """End whatever a W3 program left running; most leave nothing."""
        return

    def versions(self) -> dict[str, str]:
        """Return the versions of the interpreter, the machine's kernel and the system's packages."""
        found = {"python": platform.python_version(), "kernel": platform.release()}
        return found | {package: version(package) for package in self.packages}


def client_program(name: str) -> list[str]:
    """Return the command of a W3 program, run by the interpreter that runs this driver."""
    return [sys.executable, "-m", f"benchmarks.clients.{name}"]


def roles_of_descendants(classify: Callable[[str], str]) -> dict[str, list[int]]:
    """Sort this process and everything below it into roles by their command lines."""
    roles: dict[str, list[int]] = {"client": [os.getpid()]}
    for pid in cpu.descendants(os.getpid()):
        if line := cpu.command_line(pid):
            roles.setdefault(classify(line), []).append(pid)
    return roles
