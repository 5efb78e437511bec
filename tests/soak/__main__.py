"""``python -m soak``: waves of runs with retention on; see that neither memory nor disk grows.

A server, an agent and one program are processes of their own. After each wave the memory of each is read, and
what the database, the blobs and everything else take on the disk. What retention does is set by variables
named TASKYARD_RETENTION_*, of this process's environment or else `RETENTION`: with those, what a wave leaves
is removed while later ones run. The warm-up has to be longer than anything is kept.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
from support.programs import Program, Stage, stage
from support.signals import hear_interrupts

from soak.growth import FEWEST, Allowed, Wave, grown

PREFIX: Final = "TASKYARD_RETENTION_"
RETENTION: Final = {PREFIX + "RUNS": "1m", PREFIX + "LOGS": "1m"}
ALLOWED: Final = {
    "server": Allowed(20, 0.05),
    "agent": Allowed(10, 0.05),
    "workers": Allowed(20, 0.05),
    "client": Allowed(10, 0.05),
    "disk": Allowed(30, 0.1),
}
"""Megabytes, or the share, by which each may be above what it was."""
WARM_UP: Final = 1 / 4
"""Of the time."""
LONGEST_WAVE: Final = 300.0
BLOCK: Final = 512


def main() -> int:
    """Soak for some time; returns 1 when something grew."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1_800.0)
    parser.add_argument("--runs", type=int, default=10_000, help="of a wave")
    parser.add_argument("--every", type=float, default=5.0, help="seconds from one wave to the next")
    given = parser.parse_args()
    if given.seconds * (1 - WARM_UP) < FEWEST * given.every:
        parser.error(
            f"{given.seconds:g} s have less than {FEWEST} waves every {given.every:g} s; give it more"
        )
    hear_interrupts()
    retention = RETENTION | {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
    print(
        f"waves of {given.runs} runs for {given.seconds:g} s, with {retention or 'no retention'}", flush=True
    )
    with stage() as opened:
        opened.environment |= retention
        waves = list(_waves(opened, given))
    try:
        faults = grown(waves, WARM_UP * given.seconds, ALLOWED)
    except ValueError as error:
        faults = [str(error)]
    for fault in faults:
        print("FAULT", fault)
    print(f"{len(waves)} waves, {len(faults)} faults")
    return 1 if faults else 0


def _waves(opened: Stage, given: argparse.Namespace) -> Iterator[Wave]:
    """Yield what was there after each wave, and print it."""
    server = opened.serve("--database", f"sqlite:///{opened.home / 'taskyard.db'}", "--http", "127.0.0.1:0")
    agent = opened.work("--slots", "2")
    begin = time.monotonic()
    client = opened.start_file(
        Path(__file__).with_name("client.py"), str(given.runs), str(given.seconds), str(given.every)
    )
    while (line := client.line(LONGEST_WAVE)).startswith("wave"):
        wave = Wave(time.monotonic() - begin, _megabytes(opened.home, server, agent, client))
        figures = ", ".join(f"{name} {each:.1f}" for name, each in wave.megabytes.items())
        print(f"{wave.at:7.1f} s, {line}; MB: {figures}", flush=True)
        yield wave
    if line or client.wait():
        raise SystemExit(f"the program ended with {client.process.poll()}, saying {line!r}\n{client.log}")


def _megabytes(home: Path, server: Program, agent: Program, client: Program) -> dict[str, float]:
    processes = psutil.Process(agent.process.pid).children(recursive=True)
    return {
        "server": _resident(psutil.Process(server.process.pid)),
        "agent": _resident(psutil.Process(agent.process.pid)),
        "workers": sum(map(_resident, processes)),
        "client": _resident(psutil.Process(client.process.pid)),
        "disk": sum(_on_disk(path) for path in home.rglob("*")),
    }


def _resident(process: psutil.Process) -> float:
    """A worker may have ended since it was found."""
    try:
        return float(process.memory_info().rss) / 1e6
    except psutil.NoSuchProcess:
        return 0.0


def _on_disk(path: Path) -> float:
    """What a file takes; it may have been removed since it was found."""
    try:
        return path.lstat().st_blocks * BLOCK / 1e6
    except FileNotFoundError:
        return 0.0


if __name__ == "__main__":
    sys.exit(main())
