"""Measures what is moved between agents that do not see the store's directory: W6's arrays, each made by one
task and read by another, on two agents of one slot.

`python -m benchmarks.locality`; PAIRS (40) of SIZE (20,000,000) bytes in each of ROUNDS (5) rounds. The store
is in the server's memory, so each agent keeps what it has made and fetched in a directory of its own; what is
fetched is what is found there beyond what was made.
"""

import os
import time
from pathlib import Path
from typing import Final

from benchmarks import arrays
from benchmarks.drive import alone
from benchmarks.taskyard_system import TaskyardSystem

PAIRS: Final = int(os.environ.get("PAIRS") or 40)
SIZE: Final = int(os.environ.get("SIZE") or 20_000_000)
ROUNDS: Final = int(os.environ.get("ROUNDS") or 5)
MB: Final = 1_000_000


class Apart(TaskyardSystem):
    """Two agents, and a store that neither sees."""

    def server_command(self, options: list[str]) -> list[str]:
        """Keep blobs where only the server has them."""
        return [*super().server_command(options), "--blobs", "memory:"]

    def start(self) -> None:
        """Start one server and two agents."""
        self.start_server()
        for name in ("one", "other"):
            self.start_agent("--name", name, "--slots", "1", "--blob-bytes", str(4 * PAIRS * ROUNDS * SIZE))

    def kept_mb(self) -> float:
        """Return how much both agents have."""
        folders = Path(os.environ["TASKYARD_HOME"], "agents")
        return sum(file.stat().st_size for file in folders.glob("*/blobs/*/*")) / MB


def measure(system: Apart) -> None:
    """Print a line for each round."""
    system.move(2, SIZE)
    print(f"{'round':8}{'s':>8}{'MB made':>10}{'MB fetched':>12}")
    for number in range(ROUNDS):
        kept, begin = system.kept_mb(), time.perf_counter()
        found = system.move(PAIRS, SIZE)
        seconds = time.perf_counter() - begin
        assert found == [arrays.expected(each, SIZE) for each in range(PAIRS)]
        made = PAIRS * SIZE / MB
        print(f"{number:<8}{seconds:8.2f}{made:10.0f}{system.kept_mb() - kept - made:12.0f}", flush=True)


def main() -> None:
    """Measure a server that is started for it."""
    system = Apart("sqlite")
    alone(system, lambda: measure(system))


if __name__ == "__main__":
    main()
