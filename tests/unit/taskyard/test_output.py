"""How a program shows what its runs print in other processes."""

import io
import json
import logging
from typing import Any

import pytest

from taskyard import settings
from taskyard.logging.output import LOGGER, STDERR, STDOUT, Shown, show_said
from taskyard_api.v1.session_service_pb2 import LogBatch, OutputBatch


def batch(*pieces: tuple[str, int, bytes], at: int = 1) -> OutputBatch:
    names, streams, data = zip(*pieces, strict=True)
    count = len(pieces)
    return OutputBatch(
        run_ids=[name.encode() for name in names],
        run_names=names,
        streams=streams,
        data=data,
        at_us=range(at, at + count),
    )


def test_each_stream_gets_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    Shown().show(None, batch(("a", STDOUT, b"out\n"), ("a", STDERR, b"err\n")))
    assert capsys.readouterr() == ("out\n", "err\n")


def test_a_line_that_was_begun_goes_on_unless_something_comes_in_between(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = Shown()
    shown.show(None, batch(("a", STDOUT, b"50 %")))
    shown.show(None, batch(("a", STDOUT, b" 60 %")))
    shown.show(None, batch(("b", STDOUT, b"other\n")))
    shown.show(None, batch(("a", STDOUT, b" 100 %\n")))
    assert capsys.readouterr().out == "50 % 60 %\nother\n 100 %\n"


class Screen(io.StringIO):
    """A terminal, or a file."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.mark.parametrize(("is_terminal", "end"), [(True, "\n"), (False, "")])
def test_a_line_is_ended_by_the_other_stream_where_both_are_seen(
    is_terminal: bool, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Screen(is_terminal)
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setattr("sys.stderr", Screen(is_terminal))
    shown = Shown()
    shown.show(None, batch(("a", STDOUT, b"50 %")))
    shown.show(None, batch(("a", STDERR, b"careful\n")))
    shown.show(None, batch(("a", STDOUT, b" 100 %\n")))
    assert screen.getvalue() == f"50 %{end} 100 %\n"


def test_records_and_lines_come_in_the_order_in_which_they_were_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = LogBatch(
        run_ids=[b"a", b"a"],
        at_us=[2, 4],
        levels=[40, 40],
        loggers=["taskyard.task_runs"] * 2,
        messages=["second", "fourth"],
        run_names=["a", "a"],
    )
    output = OutputBatch(
        run_ids=[b"a"] * 2,
        run_names=["a"] * 2,
        streams=[STDERR] * 2,
        data=[b"first\n", b"third\n"],
        at_us=[1, 3],
    )
    Shown().show(logs, output)
    lines = [line.split(" - ")[-1] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["first", "second", "third", "fourth"]


def test_lines_may_say_whose_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKYARD_OUTPUT", "prefixed")
    shown = Shown()
    shown.show(None, batch(("a-0", STDOUT, b"one\ntwo\n"), ("b-0", STDOUT, b"half")))
    shown.show(None, batch(("b-0", STDOUT, b" whole\n")))
    assert capsys.readouterr().out == "a-0 | one\na-0 | two\nb-0 | half whole\n"


def test_output_may_be_off(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKYARD_OUTPUT", " Off ")
    Shown().show(None, batch(("a", STDOUT, b"one\n")))
    assert capsys.readouterr() == ("", "")


def test_bytes_that_are_no_text_are_shown_as_well_as_can_be(capsys: pytest.CaptureFixture[str]) -> None:
    Shown().show(None, batch(("a", STDOUT, b"\xff\n")))
    assert capsys.readouterr().out == "\ufffd\n"


def test_a_character_that_the_stream_cannot_say_is_written_as_an_escape(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii", errors="strict"))
    Shown().show(None, batch(("a", STDOUT, "before\ngrün\nafter\n".encode())))
    assert raw.getvalue() == b"before\ngr\\xfcn\nafter\n"


def test_a_program_without_standard_output_has_its_errors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout", None)
    shown = Shown()
    shown.show(None, batch(("a", STDOUT, b"half"), ("a", STDERR, b"to error\n")))
    shown.end_line()
    assert capsys.readouterr().err == "to error\n"


@pytest.mark.parametrize(
    "error", [BrokenPipeError(32, "Broken pipe"), ValueError("I/O operation on closed file")]
)
def test_what_is_wrong_with_a_stream_is_said_once(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing:
        def write(self, text: str) -> int:
            raise error

    monkeypatch.setattr("sys.stdout", Failing())
    shown = Shown()
    for _ in range(3):
        shown.show(None, batch(("a", STDOUT, b"one\n")))
    [said] = capsys.readouterr().err.splitlines()
    assert f"output of runs is not shown: standard output takes nothing ({type(error).__name__}: " in said


def test_only_ends_of_lines_end_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKYARD_OUTPUT", "prefixed")
    Shown().show(None, batch(("a", STDOUT, "one\x0c\u2028more\r\n\r50 %\r100 %\n".encode())))
    assert capsys.readouterr().out == "a | one\x0c\u2028more\r\na | \ra | 50 %\ra | 100 %\n"


def test_pieces_of_one_run_stay_in_order_whatever_their_times_say(capsys: pytest.CaptureFixture[str]) -> None:
    late = batch(("a", STDOUT, b"of a program\n"), at=9)
    late.MergeFrom(batch(("a", STDOUT, b"after it\n"), ("b", STDOUT, b"first\n"), at=5))
    Shown().show(None, late)
    assert capsys.readouterr().out == "first\nof a program\nafter it\n"


def test_a_piece_of_nothing_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Shown()
    shown.show(None, batch(("a", STDOUT, b""), ("b", STDOUT, b"one\n")))
    assert capsys.readouterr() == ("one\n", "")


class Broken:
    tried = 0

    def write(self, text: str) -> int:
        self.tried += 1
        raise BrokenPipeError


def test_a_stream_that_is_broken_keeps_nobody_from_their_results(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Broken()
    monkeypatch.setattr("sys.stdout", broken)
    show_said(None, batch(("a", STDOUT, b"one\n")))
    assert broken.tried


def record(name: str, level: int = logging.WARNING, **attributes: Any) -> tuple[str, int, bytes]:
    said = {
        "name": name,
        "levelno": level,
        "levelname": logging.getLevelName(level),
        "msg": "100 %",
        "created": 1_795_000_000.25,
        **attributes,
    }
    return ("a", LOGGER, json.dumps(said).encode())


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(f"{record.name} {record.getMessage()}")


def test_records_go_to_the_handlers_of_the_program() -> None:
    handler, lib = Kept(), logging.getLogger("shown.lib")
    lib.addHandler(handler)
    try:
        Shown().show(None, batch(record("shown.lib.inner"), record("shown.lib", logging.DEBUG)))
    finally:
        lib.removeHandler(handler)
    assert handler.texts == ["shown.lib.inner 100 %"]


def test_what_a_handler_in_the_worker_has_shown_is_not_shown_again() -> None:
    inner, outer = Kept(), Kept()
    logging.getLogger("shown.lib.inner").addHandler(inner)
    logging.getLogger("shown.lib").addHandler(outer)
    try:
        Shown().show(None, batch(record("shown.lib.inner", handled=["shown.lib.inner"])))
    finally:
        logging.getLogger("shown.lib.inner").removeHandler(inner)
        logging.getLogger("shown.lib").removeHandler(outer)
    assert (inner.texts, outer.texts) == ([], ["shown.lib.inner 100 %"])


def test_a_setting_that_is_none_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKYARD_OUTPUT", "loud")
    with pytest.raises(ValueError, match="TASKYARD_OUTPUT is 'loud'; it must be one of raw, prefixed, off"):
        settings.output()
