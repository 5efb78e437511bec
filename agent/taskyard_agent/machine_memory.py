"""The memory of the machine an agent runs on, or of the container it is in, where the system says so.

Pages of files that nobody has used lately count as free: the system gives them up when memory is needed.
Kubernetes counts in the same way before it evicts somebody.
"""

from pathlib import Path
from typing import Final, NamedTuple

MEMINFO: Final = Path("/proc/meminfo")
CGROUP: Final = Path("/sys/fs/cgroup")
_FILES: Final = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    (
        "memory/memory.limit_in_bytes",
        "memory/memory.usage_in_bytes",
        "memory/memory.stat",
        "total_inactive_file",
    ),
)
"""Of a container, as the two generations of Linux's control groups name them."""


class Memory(NamedTuple):
    """In bytes."""

    used: int
    total: int


def read_memory(meminfo: Path = MEMINFO, cgroup: Path = CGROUP) -> Memory | None:
    """Return how much is used and how much there is; None where the system does not say it.

    Of the container, if it may use less than the machine has.
    """
    machine = _machine(meminfo)
    for names in _FILES:
        container = _container(cgroup, *names)
        if container is not None:
            return container if machine is None or container.total < machine.total else machine
    return machine


def _machine(meminfo: Path) -> Memory | None:
    try:
        sizes = _numbers(meminfo.read_text().replace(":", " "))
        total, available = sizes["MemTotal"] * 1024, sizes["MemAvailable"] * 1024
    except (OSError, ValueError, KeyError):
        return None  # no such thing on this system
    return Memory(max(0, total - available), total)


def _container(cgroup: Path, limit: str, usage: str, stat: str, inactive: str) -> Memory | None:
    try:
        total = int(cgroup.joinpath(limit).read_text())  # "max" without a limit
        used = int(cgroup.joinpath(usage).read_text())
        unneeded = _numbers(cgroup.joinpath(stat).read_text()).get(inactive, 0)
    except (OSError, ValueError):
        return None
    return Memory(max(0, used - unneeded), total)


def _numbers(text: str) -> dict[str, int]:
    """Read lines that begin with a name and a number."""
    words = [line.split() for line in text.splitlines()]
    return {word[0]: int(word[1]) for word in words if len(word) > 1 and word[1].isdigit()}
