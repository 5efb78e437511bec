"""The programs in other languages, and how each is called."""

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
GO = ROOT / "examples" / "go" / "bin"
TYPESCRIPT = ROOT / "examples" / "typescript" / "build" / "main.js"


class Language(NamedTuple):
    """A client that was built."""

    name: str
    command: tuple[str, ...]
    dash: str
    """Before the names of options."""
    built: Path

    def words(self, address: str, command: str, *rest: str, **options: str | bool) -> list[str]:
        """Return the command line for something."""
        given: list[str] = []
        for name, value in options.items():
            given.append(self.dash + name.replace("_", "-"))
            given += [] if value is True else [str(value)]
        return [*self.command, f"{self.dash}address", address, command, *given, *rest]


CLIENTS = [
    Language("go", (str(GO / "client"),), "-", GO / "client"),
    Language("typescript", ("node", str(TYPESCRIPT)), "--", TYPESCRIPT),
]


def worker(address: str, *, name: str, queue: str, poll: bool = False) -> list[str]:
    """Return the command line of a worker in Go."""
    command = [str(GO / "worker"), "-address", address, "-name", name, "-queues", queue]
    return [*command, "-poll"] if poll else command


def check_built() -> None:
    """Say what to do when the programs are not there."""
    missing = [str(path) for path in (GO / "client", GO / "worker", TYPESCRIPT) if not path.exists()]
    assert not missing, f"not built: {', '.join(missing)}; run 'make test-clients'"
