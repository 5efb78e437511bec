"""Reads processor time and memory of process trees from /proc.

Times come from /proc/PID/stat, which covers all threads of a process, living and ended, in clock ticks
(10 ms as a rule): a round must burn many ticks for its CPU per run to mean something.
"""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")

Roles = Mapping[str, Sequence[int]]


def _stat_fields(pid: int) -> list[str] | None:
    """Return the fields after the command name (which may itself hold spaces), or None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(")") + 2 :].split()


def cpu_seconds(pid: int) -> float:
    """Return user and system time of all threads of a process; 0 when it is gone."""
    fields = _stat_fields(pid)
    return 0.0 if fields is None else (int(fields[11]) + int(fields[12])) / _TICK


def rss_mb(pid: int) -> float:
    """Return the resident memory of one process in MB; 0 when it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return pages * _PAGE / 1e6


def reset_peak(pid: int) -> None:
    """Let the kernel measure a process's highest resident memory from now on."""
    # A process that has ended has no peak any more, and one of somebody else keeps its own.
    with suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_mb(pid: int) -> float:
    """Return the most resident memory of one process since `reset_peak`, in MB; 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    lines = (line.split() for line in text.splitlines() if line.startswith("VmHWM:"))
    return sum(int(fields[1]) * 1024 / 1e6 for fields in lines)


def command_line(pid: int) -> str:
    """Return the command of a process, arguments joined by spaces; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def descendants(root: int) -> list[int]:
    """Return the living children of a process, their children, and so on, without the process itself."""
    children: dict[int, list[int]] = {}
    for pid in all_processes():
        if (fields := _stat_fields(pid)) is not None:
            children.setdefault(int(fields[1]), []).append(pid)
    found: list[int] = []
    waiting = list(children.get(root, ()))
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting.extend(children.get(pid, ()))
    return found


def all_processes() -> list[int]:
    """Return the ids of all living processes."""
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]


def with_environment(key: str, value: str) -> list[int]:
    """Return every process started with this variable: finds daemons that left their parent's tree."""
    wanted = f"{key}={value}".encode()
    found = []
    for pid in all_processes():
        # A process that ended, or that belongs to somebody else, cannot be read.
        with suppress(OSError):
            if wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.append(pid)
    return found


class Meter:
    """Processor seconds per role since it was made; processes that end meanwhile are not counted."""

    def __init__(self, roles: Roles) -> None:
        self._before = {pid: cpu_seconds(pid) for pids in roles.values() for pid in pids}

    def spent(self, roles: Roles) -> dict[str, float]:
        """Return the seconds each role burnt; a process that is new counts from its start."""
        return {
            role: sum(max(0.0, cpu_seconds(pid) - self._before.get(pid, 0.0)) for pid in pids)
            for role, pids in roles.items()
        }


class Peaks:
    """The most resident memory per role since it was made.

    The peaks of a role's processes are added up, whether or not they came at the same time.
    """

    def __init__(self, roles: Roles) -> None:
        self._roles = {role: list(pids) for role, pids in roles.items()}
        self._before = {role: sum(map(rss_mb, pids)) for role, pids in self._roles.items()}
        for pids in self._roles.values():
            for pid in pids:
                reset_peak(pid)

    def metrics(self) -> dict[str, float]:
        """Return the peak of each role, and how much that is above what it had."""
        found = {}
        for role, pids in self._roles.items():
            peak = sum(map(peak_mb, pids))
            found[f"{role}_peak_mb"] = round(peak, 1)
            found[f"{role}_grown_mb"] = round(peak - self._before[role], 1)
        return found


def wait_until_idle(pids: Iterable[int], *, timeout: float, share: float = 0.03, span: float = 0.5) -> bool:
    """Wait until the processes together use less than `share` of one core over two spans running."""
    watched = list(pids)
    deadline = time.monotonic() + timeout
    last = sum(map(cpu_seconds, watched))
    quiet = 0
    while quiet < 2 and time.monotonic() < deadline:
        time.sleep(span)
        now = sum(map(cpu_seconds, watched))
        quiet = quiet + 1 if now - last <= share * span else 0
        last = now
    return quiet >= 2
