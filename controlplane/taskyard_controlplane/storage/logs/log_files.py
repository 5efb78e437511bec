"""Where the days of logs are on SQLite: one file each, in a folder beside the database.

What was removed is noted in the folder before anything is: readers pass over days that are to go, so a day
is either there or known to have gone, whenever a process ends.

Invariant: files are named after their day, and nothing else in the folder is touched.
"""

import os
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote

from taskyard_contract.programs.durable_files import sync_directory
from taskyard_controlplane.storage.engine import Target
from taskyard_controlplane.storage.interface import DAY_US, LogDay

_SUFFIX: Final = ".sqlite3"
_EPOCH: Final = date(1970, 1, 1).toordinal()
_DAY_LENGTH: Final = len("2026-11-30")
_NOTE: Final = "removed-before"


class LogFiles(Protocol):
    """Places of days. Any thread may ask."""

    in_memory: bool

    def uri(self, day: int, *, write: bool) -> str:
        """Return what SQLite opens for a day."""
        ...

    def days(self) -> list[int]:
        """Return the days that are stored and have not been removed, in order."""
        ...

    def removed_before_us(self) -> int:
        """Return up to when days were removed; 0 when none was."""
        ...

    def remove(self, before_day: int) -> list[LogDay]:
        """Remove all days before one; returns which there were."""
        ...

    def usage(self) -> list[LogDay]:
        """Return the days that are stored, oldest first, with their sizes."""
        ...


class LogFolder:
    """A folder of files."""

    in_memory = False

    def __init__(self, path: Path) -> None:
        """Name the folder; it is made with the first file."""
        self.path = path

    def uri(self, day: int, *, write: bool) -> str:
        if write:
            self.path.mkdir(exist_ok=True)
        file = self.path / f"{date.fromordinal(_EPOCH + day).isoformat()}{_SUFFIX}"
        return f"file:{quote(os.fsencode(file))}?mode={'rwc' if write else 'ro'}"

    def days(self) -> list[int]:
        first = self.removed_before_us() // DAY_US
        return sorted(day for day, name in self._files() if day >= first and name.endswith(_SUFFIX))

    def removed_before_us(self) -> int:
        try:
            text = (self.path / _NOTE).read_text()
            return round(datetime.fromisoformat(text.strip()).timestamp()) * 1_000_000
        except (FileNotFoundError, ValueError):
            return 0

    def remove(self, before_day: int) -> list[LogDay]:
        going = [one for one in self._sizes() if one.begins_us < before_day * DAY_US]
        if going:
            self._note(going[-1].begins_us + DAY_US)
        for day, name in self._files():
            if day < before_day:
                (self.path / name).unlink(missing_ok=True)
        return going

    def usage(self) -> list[LogDay]:
        first = self.removed_before_us()
        return [one for one in self._sizes() if one.begins_us >= first]

    def _note(self, before_us: int) -> None:
        before_us = max(before_us, self.removed_before_us())
        note, new = self.path / _NOTE, self.path / f"{_NOTE}.new"
        with new.open("w") as file:
            file.write(datetime.fromtimestamp(before_us / 1e6, UTC).isoformat() + "\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(note)
        sync_directory(self.path)

    def _files(self) -> list[tuple[int, str]]:
        """Return the files of days, with what SQLite keeps beside them."""
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return []
        return [(day, name) for name in names if (day := _day_in(name)) is not None]

    def _sizes(self) -> list[LogDay]:
        sizes: dict[int, int] = {}
        for day, name in self._files():
            try:
                sizes[day] = sizes.get(day, 0) + (self.path / name).stat().st_size
            except FileNotFoundError:  # removed meanwhile
                continue
        return [LogDay(day * DAY_US, sizes[day]) for day in sorted(sizes)]


class LogMemory:
    """A single database in this process's memory for all days, which lasts as long as it is open."""

    in_memory = True

    def __init__(self, name: str) -> None:
        """Name it after the database it belongs to."""
        self._uri = f"file:/taskyard-{quote(name, safe='')}-logs?vfs=memdb"

    def uri(self, day: int, *, write: bool) -> str:
        return self._uri

    def days(self) -> list[int]:
        return [0]

    def removed_before_us(self) -> int:
        with closing(sqlite3.connect(self._uri, uri=True)) as connection:
            return int(connection.execute("PRAGMA user_version").fetchone()[0]) * DAY_US

    def remove(self, before_day: int) -> list[LogDay]:
        with closing(sqlite3.connect(self._uri, uri=True)) as connection, connection:
            going = [one for one in _sizes_in(connection) if one.begins_us < before_day * DAY_US]
            if going:
                connection.execute("DELETE FROM log_record WHERE log_id < ?", (before_day * DAY_US,))
                connection.execute(f"PRAGMA user_version = {going[-1].begins_us // DAY_US + 1}")
        return going

    def usage(self) -> list[LogDay]:
        with closing(sqlite3.connect(self._uri, uri=True)) as connection:
            return _sizes_in(connection)


def log_files(target: Target) -> LogFiles:
    """Return where the logs of an SQLite database are."""
    path = target.path
    return LogFolder(path.with_name(f"{path.stem}-logs")) if path is not None else LogMemory(target.memory)


def _sizes_in(connection: sqlite3.Connection) -> list[LogDay]:
    query = f"SELECT log_id / {DAY_US}, sum(length(message)) FROM log_record GROUP BY 1 ORDER BY 1"
    return [LogDay(day * DAY_US, size) for day, size in connection.execute(query)]


def _day_in(name: str) -> int | None:
    """Return which day a file is of; None when it is none of ours."""
    if not name[_DAY_LENGTH:].startswith(_SUFFIX):
        return None
    try:
        return date.fromisoformat(name[:_DAY_LENGTH]).toordinal() - _EPOCH
    except ValueError:
        return None
