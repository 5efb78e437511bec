"""Files of JSON lines that several processes append to, whatever kills them.

A line is one write to a file that was opened for appending, so lines of several processes do not mix, and
what was written is there when its writer is killed. Only a machine that loses its power could take it back,
and no storm does that: nothing is synced.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def append(path: str | Path, **fields: Any) -> None:
    """Write one line."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, json.dumps(fields).encode() + b"\n")
    finally:
        os.close(descriptor)


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Read all lines; one that a full disk has cut off would be an error, a missing file is none."""
    if path.exists():
        with path.open("rb") as lines:
            yield from map(json.loads, lines)


class Tail:
    """What is appended to a file from now on."""

    def __init__(self, path: Path) -> None:
        """Begin at its present end."""
        self._path = path
        self._at = path.stat().st_size if path.exists() else 0

    def more(self) -> list[dict[str, Any]]:
        """Return the lines that have come since the last call."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as lines:
            lines.seek(self._at)
            whole, _, _ = lines.read().rpartition(b"\n")
        self._at += len(whole) + 1 if whole else 0
        return [json.loads(line) for line in whole.splitlines()]
