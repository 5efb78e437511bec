"""The rows below what a program prints: shown while something goes on, and in nobody's way.

**How to use it.** Whoever writes text to the program's terminal calls `write(stream, text)`, or simply the
stream's own `write`: both are the same to the rows. Whoever writes to the descriptor itself (bytes of another
process, for example) does that inside ``with paused():``. Nothing else is needed, and without a terminal, or
without rows, both cost next to nothing.

The rows stand *below* the cursor, which stays where the program left it. So a prompt, the echo of a Ctrl-C,
and a line that a subprocess writes past all this go where they would go without rows. What is written
through the streams of this process, by whatever holds them (print, logging, rich), first removes the rows,
and draws them again behind it, in one piece: while rows are shown, the buffers of these streams have a
`write` of their own. They get their own back with the last row.

A program that moves the cursor itself (tqdm, rich, a spinner) has the terminal to itself: there are no rows
as long as it does that, and for a while after.
"""

import atexit
import builtins
import io
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TextIO

from taskyard import settings

YIELD_SECONDS: Final = 3.0
"""For how long others have the terminal after they last moved the cursor."""
REDRAW_SECONDS: Final = 0.02
"""Rows are drawn behind what is written at most so often: who prints fast wants to print."""
LEAST_HEIGHT: Final = 4
"""A terminal with fewer rows has none to spare."""

ERASE: Final = b"\x1b[J"
_MOVES: Final = re.compile(rb"\r(?!\n)|\x08|\x1b\[[0-9;?]*[A-HJKLMPSTXfhlsu]|\x1b[78DEM]")
"""What moves the cursor, or edits the screen; colours do not."""


def write(stream: TextIO, text: str) -> None:
    """Write text to a stream, in one piece and at once, whatever is shown below."""
    with _rows.lock:
        stream.write(text)
        stream.flush()


@contextmanager
def paused() -> Iterator[None]:
    """Have no rows in the way while something is written past the streams.

    Other threads that write wait meanwhile: nothing else is to be done inside, above all nothing logged.
    """
    with _rows.lock:
        _rows.erase()
        yield


def show(rows: Sequence[str]) -> None:
    """Show these rows, or others than before, where there is a terminal for it; they fit the `size`.

    Without any, the terminal is only watched: whether something else of this program animates it.
    """
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    _rows.show([row.encode(encoding, "replace") for row in rows])


def hide() -> None:
    """Remove the rows, and leave everything as it was."""
    _rows.hide()


def size() -> tuple[int, int]:
    """Return how many columns and rows the terminal has now; zeros when there is none for rows."""
    try:
        stream = sys.stderr
        if not stream.isatty() or not settings.has_animated_terminal():
            return 0, 0
        found = os.get_terminal_size(stream.fileno())
    except (AttributeError, OSError, ValueError):  # no stream, a closed one, one without a descriptor
        return 0, 0
    return (found.columns, found.lines) if found.lines >= LEAST_HEIGHT else (0, 0)


def is_taken() -> bool:
    """Whether something else of this program animates the terminal, as far as that can be known."""
    return _rows.yields() or any(map(_is_proxied, (sys.stdout, sys.stderr))) or _rich_lives() or _tqdm_lives()


def _is_proxied(stream: object) -> bool:
    return type(stream).__module__ == "rich.file_proxy"


def _rich_lives() -> bool:
    rich = sys.modules.get("rich")
    console = getattr(rich, "_console", None)
    # One of them in older releases, a stack of them in newer ones.
    return bool(getattr(console, "_live", None) or getattr(console, "_live_stack", None))


def _tqdm_lives() -> bool:
    bars = getattr(getattr(sys.modules.get("tqdm.std"), "tqdm", None), "_instances", None)
    return bool(bars)


class _Rows:
    """What is shown now, and the streams that know of it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.lock = threading.RLock()
        self._clock = clock
        self._fd = -1
        self._rows: list[bytes] = []
        self._drawn = False
        self._drawn_at = 0.0
        self._yield_until = 0.0
        self._reading = 0
        self._guards: list[tuple[Any, Callable[[Any], Any]]] = []
        self._real_input: Any = builtins.input

    def yields(self) -> bool:
        return self._clock() < self._yield_until

    def show(self, rows: list[bytes]) -> None:
        with self.lock:
            if self._fd < 0 and not self._begin():
                return
            changed, self._rows = rows != self._rows, rows
            if not rows:
                self.erase()
            elif (changed or not self._drawn) and self._may_draw():
                self._send(self._drawing())

    def hide(self) -> None:
        with self.lock:
            self.erase()
            self._rows = []
            self._end()

    def erase(self) -> None:
        """Remove the rows from the screen; they are drawn again with the next `show`."""
        if self._drawn:
            self._drawn = False
            self._send(ERASE)

    def _may_draw(self) -> bool:
        if self._reading or self.yields():
            return False
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()  # in the background the terminal is somebody else's
        except OSError:
            return True  # a terminal that controls nobody: nobody else has it either

    def _drawing(self) -> bytes:
        """Return what makes room below the cursor, fills it, and puts the cursor back."""
        count = len(self._rows)
        self._drawn, self._drawn_at = True, self._clock()
        # Wrapping is off meanwhile: a terminal that has just become narrower cuts the rows.
        room = ERASE + b"\x1bD" * count + b"\x1b[%dA" % count
        return room + b"\x1b7\x1b[?7l" + b"".join(b"\x1b[B\r" + row for row in self._rows) + b"\x1b[?7h\x1b8"

    def _send(self, data: bytes) -> None:
        try:
            os.write(self._fd, data)
        except OSError:  # it is gone, or takes nothing now; the program goes on
            self._drawn = False

    def _begin(self) -> bool:
        if not size()[0]:
            return False
        self._fd = sys.stderr.fileno()
        for buffer in _terminal_buffers():
            self._guard(buffer)
        self._real_input = builtins.input
        builtins.input = self._input
        return True

    def _end(self) -> None:
        self._fd = -1
        for buffer, guard in self._guards:
            if vars(buffer).get("write") is guard:
                del buffer.write
        if self._guards and builtins.input == self._input:
            builtins.input = self._real_input
        self._guards = []

    def _guard(self, buffer: Any) -> None:
        real = buffer.write

        def write(data: Any) -> Any:
            with self.lock:
                text = bytes(data)
                before, after = self._around(text)
                written = real(before + text + after)
                return min(len(text), max(0, written - len(before))) if written is not None else None

        buffer.write = write
        self._guards.append((buffer, write))

    def _around(self, text: bytes) -> tuple[bytes, bytes]:
        """Return what removes the rows before something is written, and what draws them again behind it."""
        before = ERASE if self._drawn else b""
        self._drawn = False
        now = self._clock()
        if _MOVES.search(text):
            self._yield_until = now + YIELD_SECONDS
        elif self._rows and text.endswith(b"\n") and now - self._drawn_at >= REDRAW_SECONDS:
            return before, self._drawing() if self._may_draw() else b""
        return before, b""

    def _input(self, prompt: object = "", /) -> str:
        """Stand in for `input`: who is asked something edits a line, and needs the terminal for it."""
        with self.lock:
            self.erase()
            self._reading += 1
        try:
            return str(self._real_input(prompt))
        finally:
            self._reading -= 1

    def forget(self) -> None:
        """Be as new in a forked child: the rows, and the thread that draws them, are its parent's."""
        self.lock = threading.RLock()
        self._drawn, self._rows = False, []
        self._end()


def _terminal_buffers() -> list[Any]:
    """Return what is behind the streams of this program that go to a terminal, each once."""
    found: dict[int, Any] = {}
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        stream = getattr(stream, "real", stream)  # a capture of prints stands in front of it
        if isinstance(stream, io.TextIOWrapper) and not stream.closed and stream.isatty():
            found[id(stream.buffer)] = stream.buffer
    return list(found.values())


_rows: Final = _Rows()
atexit.register(hide)
os.register_at_fork(after_in_child=_rows.forget)
