"""Rows below what a program prints: on a real pseudo-terminal, in this process."""

import fcntl
import io
import os
import pty
import struct
import sys
import termios

import pytest
from support.screen import Screen

from taskyard.logging.terminal import YIELD_SECONDS, _Rows

LINE = ["great-ammonite 3/10 done"]


class Terminal:
    """Standard output and error of this process on a terminal, and rows with a clock of their own."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch, self.attached = patch, False
        self.master, slave = pty.openpty()
        attributes = termios.tcgetattr(slave)
        attributes[1] &= ~termios.OPOST  # what is written is what is read
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        self.resize(80, 24)
        self.out = self._stream(os.dup(slave))
        self.err = self._stream(slave)
        self.now = 100.0
        self.rows = _Rows(lambda: self.now)
        self.written = b""

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    @staticmethod
    def _stream(fd: int) -> io.TextIOWrapper:
        return io.TextIOWrapper(open(fd, "wb"), encoding="utf-8", newline="\r\n", line_buffering=True)

    def attach(self) -> None:
        """Be where this process writes; pytest has it elsewhere while fixtures are made."""
        self._patch.setattr(sys, "stdout", self.out)
        self._patch.setattr(sys, "stderr", self.err)
        self.attached = True

    def show(self, *rows: str) -> None:
        if not self.attached:
            self.attach()
        self.now += 1
        self.rows.show([row.encode() for row in rows])

    @property
    def lines(self) -> list[str]:
        os.set_blocking(self.master, False)
        try:
            while data := os.read(self.master, 1 << 16):
                self.written += data
        except BlockingIOError:
            pass  # that was all
        screen = Screen()
        screen.feed(self.written)
        return screen.lines

    def close(self) -> None:
        self.rows.hide()
        self.out.close()
        self.err.close()
        os.close(self.master)


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    terminal = Terminal(monkeypatch)
    yield terminal
    terminal.close()


def test_rows_are_below_the_cursor_and_go_without_a_trace(terminal):
    print("before", file=terminal.out)
    terminal.show(*LINE, "another")
    assert terminal.lines == ["before", "", *LINE, "another"]
    terminal.rows.hide()
    assert terminal.lines == ["before"]
    print("after", file=terminal.out)
    assert terminal.lines == ["before", "after"]


@pytest.mark.parametrize("name", ["out", "err"])
def test_what_is_written_is_whole_and_the_rows_stay_below_it(terminal, name):
    stream = getattr(terminal, name)  # somebody holds it since before, a handler of logging for example
    terminal.show(*LINE)
    for number in range(3):
        terminal.now += 1
        print("printed", number, file=stream)
        assert terminal.lines[-1] == LINE[0]
    assert terminal.lines == ["printed 0", "printed 1", "printed 2", "", *LINE]


def test_bytes_and_streams_around_the_stream_are_met_as_well(terminal):
    terminal.show(*LINE)
    assert terminal.out.buffer.write(b"bytes\r\n") == 7, "rows are nobody's bytes"
    terminal.out.buffer.flush()
    terminal.now += 1
    print("again", file=terminal.err)
    assert terminal.lines == ["bytes", "again", "", *LINE]


def test_a_line_that_is_printed_in_parts_stays_one(terminal):
    terminal.show(*LINE)
    print("one, ", end="", flush=True, file=terminal.out)
    assert terminal.lines == ["one,"]
    terminal.show(*LINE)
    assert terminal.lines == ["one,", *LINE]
    print("two", file=terminal.out)
    assert terminal.lines[0] == "one, two"


def test_who_prints_fast_is_not_held_up(terminal):
    terminal.show(*LINE)
    for _ in range(200):
        print("x", file=terminal.err)
    assert terminal.lines == ["x"] * 200
    assert terminal.written.count(LINE[0].encode()) == 1, "no time has passed since it was drawn"


def test_one_line_written_past_the_streams_does_not_meet_the_rows(terminal):
    terminal.show(*LINE)
    os.write(terminal.err.fileno(), b"from a subprocess\r\n")
    terminal.show("now it is another")
    assert terminal.lines == ["from a subprocess", "", "now it is another"]


@pytest.mark.parametrize("text", ["\rspin 1", "\x1b[2Kbar", "\x1b[1A", "back\x08"])
def test_who_moves_the_cursor_has_the_terminal(terminal, text):
    terminal.show(*LINE)
    print(text, end="", flush=True, file=terminal.out)
    terminal.show(*LINE)
    assert LINE[0] not in terminal.lines
    assert terminal.rows.yields()
    terminal.now += YIELD_SECONDS
    terminal.show(*LINE)
    assert terminal.lines[-1] == LINE[0]


def test_colours_move_nothing(terminal):
    terminal.show(*LINE)
    terminal.now += 1
    print("\x1b[1;31mred\x1b[0m", file=terminal.out)
    assert terminal.lines == ["red", "", *LINE]


def test_nothing_is_left_of_it_in_the_streams(terminal):
    terminal.show(*LINE)
    assert "write" in vars(terminal.out.buffer)
    terminal.rows.hide()
    assert "write" not in vars(terminal.out.buffer)
    assert "write" not in vars(terminal.err.buffer)
    assert input.__module__ == "builtins"


def test_a_question_has_the_terminal_until_it_is_answered(terminal, monkeypatch):
    seen = []

    def answer(prompt):
        terminal.show("others go on")
        seen.append(terminal.lines)
        return "bob"

    monkeypatch.setattr("builtins.input", answer)
    terminal.show(*LINE)
    assert input("Name? ") == "bob"
    assert seen == [[]]
    terminal.show(*LINE)
    assert terminal.lines[-1] == LINE[0]


@pytest.mark.parametrize(
    ("name", "value"), [("TERM", "dumb"), ("TERM", ""), ("CI", "true")], ids=["dumb", "none", "CI"]
)
def test_no_rows_without_somebody_who_looks(terminal, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    terminal.show(*LINE)
    assert (terminal.lines, terminal.written) == ([], b"")


def test_no_rows_on_a_terminal_that_has_none_to_spare(terminal):
    terminal.resize(80, 3)
    terminal.show(*LINE)
    assert terminal.written == b""


def test_no_rows_where_errors_go_to_a_file(terminal, monkeypatch, tmp_path):
    with open(tmp_path / "errors", "w+") as errors:
        terminal.attach()
        monkeypatch.setattr(sys, "stderr", errors)
        terminal.show(*LINE)
        print("printed", file=terminal.out)
    assert terminal.lines == ["printed"]
    assert (tmp_path / "errors").read_bytes() == b""


def test_a_terminal_that_has_gone_breaks_nothing(terminal):
    terminal.show(*LINE)
    os.close(terminal.master)
    terminal.master = os.open(os.devnull, os.O_RDWR)
    terminal.show("another")
    terminal.rows.hide()
    assert "write" not in vars(terminal.out.buffer)


def test_a_forked_child_has_streams_of_its_own(terminal):
    terminal.show(*LINE)
    terminal.rows.forget()
    assert "write" not in vars(terminal.out.buffer)
    terminal.show(*LINE)
    assert terminal.lines[-1] == LINE[0]
