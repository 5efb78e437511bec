"""How many runs may wait for runs of their own on this machine: each of them keeps a process.

Nested calls are as deep as programs make them, so the limit is generous; it is there so that a task which
calls itself without end gets an error, and not a machine without memory.
"""

import resource
from pathlib import Path
from typing import Final

WAITING_BYTES: Final = 12 * 1024 * 1024
"""What a process has to itself while it waits: 9 MB, and something for what its task holds."""
MEMORY_SHARE: Final = 0.5
"""Of what is free when the agent starts; the rest is for the runs that are executed."""
LEAST: Final = 16
"""On a machine without memory too: calls that are nested a few times must not fail."""
_DESCRIPTORS_EACH: Final = 5
"""What the agent has open for each process: two sockets, the progress board, and two pipes."""
_MOST_DESCRIPTORS: Final = 1 << 16
"""As many as this process asks for, if it may: each process that waits takes some."""
_OTHER_DESCRIPTORS: Final = 160
"""What it has open besides: connections, event loops, files on their way to the store."""
_CGROUP: Final = Path("/sys/fs/cgroup")
_UNKNOWN_BYTES: Final = 4 * 1024**3


def default_limit(slots: int, available_bytes: int, descriptors: int) -> int:
    """Return how many runs may wait unless somebody says otherwise.

    Args:
        slots: Runs that are executed at the same time.
        available_bytes: Memory that is free.
        descriptors: How many files the agent may have open.
    """
    by_memory = int(available_bytes * MEMORY_SHARE) // WAITING_BYTES
    return min(max(LEAST, 2 * slots, by_memory), most_by_descriptors(slots, descriptors))


def most_by_descriptors(slots: int, descriptors: int) -> int:
    """Return for how many waiting runs, besides its slots, an agent can open what it needs; at least one."""
    return max(1, (descriptors - _OTHER_DESCRIPTORS) // _DESCRIPTORS_EACH - slots)


def raise_descriptors() -> int:
    """Let this process have as many files open as the system allows; returns how many it had before.

    What it starts has to set that again: programs may depend on small numbers.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return soft


def allowed_descriptors() -> int:
    """Return how many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 20


def available_bytes(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = _CGROUP) -> int:
    """Return the memory that is free for this process: of the machine, or less in a container."""
    machine = _UNKNOWN_BYTES
    try:
        for line in meminfo.read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                machine = int(value.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass  # no such thing on this system
    return min(machine, _left_in_container(cgroup, machine))


def _left_in_container(cgroup: Path, unlimited: int) -> int:
    try:
        allowed = int(cgroup.joinpath("memory.max").read_text())  # "max" without a limit
        return max(0, allowed - int(cgroup.joinpath("memory.current").read_text()))
    except (OSError, ValueError):
        return unlimited
