"""Bytes of one stream, cut into whole lines of bounded length. Pure.

Several processes write to one terminal, so what a reader is shown are lines; only one that has been begun and
is not ended for a while (a progress bar, a question) is shown in parts.
"""

from typing import Final

MAX_LINE: Final = 32 * 1024
"""Bytes of one line, as of one log record; what is longer is cut."""
CUT: Final = b"... (cut: a line of output has up to 32 KiB)\n"


class Lines:
    """The line that a stream is in the midst of."""

    def __init__(self) -> None:
        """Be at the beginning of one."""
        self._held = bytearray()
        self._cutting = False
        self.begun = False
        """Whether the stream is in the midst of a line."""
        self.since_ns = 0
        """When what is held was begun, monotonic; 0 when nothing is."""

    def add(self, data: bytes, now_ns: int) -> bytes:
        """Take what was written; returns the lines that are whole now."""
        end = data.rfind(b"\n") + 1
        if not end:
            self._hold(data, now_ns)
            return b""
        whole = data[:end] if end < len(data) else data
        if self.begun or len(whole) > MAX_LINE:
            whole = self._bounded(whole, now_ns)
        if end < len(data):
            self._hold(data[end:], now_ns)
        return whole

    def _bounded(self, whole: bytes, now_ns: int) -> bytes:
        """Return the rest of a line and the lines after it, each no longer than may be."""
        told = bytearray()
        for line in whole[:-1].split(b"\n"):  # at newlines only: a carriage return stays in its line
            self._hold(line, now_ns)
            told += self.end()
        return bytes(told)

    def _hold(self, part: bytes, now_ns: int) -> None:
        if not part:
            return
        self.begun = True
        room = MAX_LINE - len(self._held)
        if not self.since_ns:
            self.since_ns = now_ns
        self._held += part[:room]
        self._cutting = self._cutting or len(part) > room

    def end(self) -> bytes:
        """End the line; returns what is left of it, with its newline."""
        rest = bytes(self._held) + (CUT if self._cutting else b"\n")
        self._forget()
        self.begun = False
        return rest

    def overdue(self, before_ns: int) -> bytes:
        """Return what has been held since before a moment, though its line is not whole."""
        if not self.since_ns or self.since_ns > before_ns:
            return b""
        part = bytes(self._held)
        self._forget()  # what follows has room again: a line that is drawn anew and anew is one line, too
        return part

    def _forget(self) -> None:
        self._held.clear()
        self._cutting, self.since_ns = False, 0
