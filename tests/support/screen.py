"""A terminal: what a program writes to a pseudo-terminal, and what is on the screen then."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

_TOKEN: Final = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1b[78DM]|\r|\n|\x08|[^\x1b\r\n\x08]+")

_TAKE_TERMINAL: Final = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""Makes the terminal that of the program, so that Ctrl-C in it is one."""


class Screen:
    """What is on a terminal that is high enough never to scroll; of escape sequences those that rows need."""

    def __init__(self, columns: int = 80) -> None:
        self.columns = columns
        self._rows: list[list[str]] = [[]]
        self._row = self._column = 0
        self._saved = (0, 0)
        self._wraps = True

    @property
    def lines(self) -> list[str]:
        """What can be read, without blanks at the ends."""
        lines = ["".join(row).rstrip() for row in self._rows]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def feed(self, data: bytes) -> None:
        """Take what a program wrote; each call whole sequences."""
        for token in _TOKEN.findall(data):
            self._take(token)

    def _take(self, token: bytes) -> None:
        if token == b"\r":
            self._column = 0
        elif token in (b"\n", b"\x1bD"):
            self._row += 1
        elif token == b"\x08":
            self._column = max(0, self._column - 1)
        elif token == b"\x1b7":
            self._saved = self._row, self._column
        elif token == b"\x1b8":
            self._row, self._column = self._saved
        elif token.startswith(b"\x1b["):
            self._control(token[2:-1], token[-1:])
        else:
            self._put(token.decode("utf-8", "replace"))
        self._make_room()

    def _control(self, numbers: bytes, letter: bytes) -> None:
        count = int(numbers) if numbers.isdigit() else 1
        if letter == b"A":
            self._row = max(0, self._row - count)
        elif letter == b"B":
            self._row += count
        elif letter == b"J":
            del self._rows[self._row][self._column :]
            del self._rows[self._row + 1 :]
        elif letter == b"K":
            del self._rows[self._row][0 if numbers == b"2" else self._column :]
        elif letter in b"hl":
            self._wraps = letter == b"h" if numbers == b"?7" else self._wraps
        elif letter != b"m":
            raise AssertionError(f"this terminal does not know ESC [ {numbers!r} {letter!r}")

    def _put(self, text: str) -> None:
        for one in text:
            if self._column == self.columns:
                if not self._wraps:
                    continue
                self._row, self._column = self._row + 1, 0
                self._make_room()
            row = self._rows[self._row]
            row.extend(" " * (self._column + 1 - len(row)))
            row[self._column] = one
            self._column += 1

    def _make_room(self) -> None:
        while len(self._rows) <= self._row:
            self._rows.append([])


def for_terminal(environment: Mapping[str, str], **more: str) -> dict[str, str]:
    """Return an environment in which a terminal counts as one wherever tests run; `more` decides last."""
    kept = {name: value for name, value in environment.items() if name not in ("CI", "COLUMNS")}
    return {**kept, "TERM": "xterm", "NO_COLOR": "1", **more}


class OnTerminal:
    """A program whose terminal this is."""

    def __init__(
        self,
        *arguments: str,
        environment: Mapping[str, str],
        columns: int = 80,
        lines: int = 24,
        pipes: Sequence[str] = (),
    ) -> None:
        """Start it; `pipes` are those of stdout and stderr that go to a pipe instead."""
        self._master, slave = pty.openpty()
        self.resize(columns, lines)
        streams = dict.fromkeys(pipes, subprocess.PIPE)
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *arguments],
            stdin=slave,
            stdout=streams.get("stdout", slave),
            stderr=streams.get("stderr", slave),
            env=dict(environment),
            start_new_session=True,
        )
        os.close(slave)
        self.written = b""

    def resize(self, columns: int, lines: int = 24) -> None:
        """Be a terminal of another size from now on."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        """Press some keys."""
        os.write(self._master, keys)

    def read_until(self, found: Callable[[bytes], bool], seconds: float = 60) -> bytes:
        """Read until something has been written, or everything; returns all that was written so far."""
        until = time.monotonic() + seconds
        while not found(self.written):
            ready, _, _ = select.select([self._master], [], [], max(0, until - time.monotonic()))
            assert ready, f"not written within {seconds} s: {self.written!r}"
            try:
                data = os.read(self._master, 65536)
            except OSError:  # everybody has closed it
                data = b""
            if not data:
                break
            self.written += data
        return self.written

    def wait(self, seconds: float = 60) -> int:
        """Read all that is written and return how the program ended."""
        self.read_until(lambda _: False, seconds)
        return self.process.wait(seconds)

    def screen(self, columns: int = 80) -> Screen:
        """Return what is on the screen now."""
        screen = Screen(columns)
        screen.feed(self.written)
        return screen

    def close(self) -> None:
        """End the program if it has not ended."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(20)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        os.close(self._master)
