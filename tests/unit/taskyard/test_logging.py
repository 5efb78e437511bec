import io
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar, copy_context
from typing import Any

import pytest

from taskyard.context import FlowRun, FlowRunContext, TaskRun, TaskRunContext
from taskyard.exceptions import MissingContextError
from taskyard.logging import (
    capture_prints,
    configure,
    get_logger,
    get_run_logger,
    loggers,
    prints,
    show,
    show_as_from_here,
    show_said,
)
from taskyard.logging.formatters import ConsoleFormatter
from taskyard.logging.prints import PrintCapture
from taskyard_api.v1.session_service_pb2 import LogBatch

TASK_ID, FLOW_ID = b"t" * 16, b"f" * 16
Entry = tuple[bytes, int, int, str, str, str]


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave Taskyard's logger as it was; the first run of a program installs handlers."""
    monkeypatch.delenv("TASKYARD_LOG_LEVEL", raising=False)
    root = logging.getLogger("taskyard")
    handlers, level, propagate = root.handlers[:], root.level, root.propagate
    root.handlers, root.propagate = [], True
    root.setLevel(logging.NOTSET)
    yield
    root.handlers, root.propagate = handlers, propagate
    root.setLevel(level)


def task_context(**rest: Any) -> TaskRunContext:
    run = TaskRun(TASK_ID, "f-0", task_name="f", flow_run_id=FLOW_ID, flow_run_name="brave-otter")
    return TaskRunContext(None, run, {}, **rest)


def flow_context(**rest: Any) -> FlowRunContext:
    return FlowRunContext(None, FlowRun(FLOW_ID, "brave-otter"), {}, **rest)


def messages(entries: list[Entry]) -> list[str]:
    return [entry[4] for entry in entries]


def test_row_15_outside_of_runs_there_is_no_run_logger() -> None:
    with pytest.raises(MissingContextError):
        get_run_logger()


def test_row_69_lines_name_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    with flow_context():
        get_run_logger().info("count: %s", 3)
        with task_context():
            get_run_logger().warning("careful")
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith(" | INFO    | Flow run 'brave-otter' - count: 3")
    assert second.endswith(" | WARNING | Task run 'f-0' - careful")


def test_lines_start_with_the_time_of_day() -> None:
    record = logging.makeLogRecord({"name": "taskyard.x", "levelname": "INFO", "msg": "hello"})
    record.created = time.mktime((2026, 1, 2, 9, 55, 55, 0, 0, -1))
    record.msecs = 412.7
    assert ConsoleFormatter().format(record) == "09:55:55.412 | INFO    | taskyard.x - hello"


def test_records_go_to_the_sink_of_their_run(capsys: pytest.CaptureFixture[str]) -> None:
    of_flow: list[Entry] = []
    of_task: list[Entry] = []
    with flow_context(log_sink=of_flow.append):
        get_run_logger().error("one")
        with task_context(log_sink=of_task.append):
            get_run_logger().info("two")
    (run_id, at_us, level, logger, message, name), *rest = of_flow
    assert (run_id, level, logger) == (FLOW_ID, logging.ERROR, "taskyard.flow_runs")
    assert (message, name, rest) == ("one", "brave-otter", [])
    assert abs(at_us / 1e6 - time.time()) < 60
    assert [entry[0] for entry in of_task] == [TASK_ID]
    assert messages(of_task) == ["two"]


def test_a_logger_may_be_used_in_another_context() -> None:
    entries: list[Entry] = []
    logger = get_run_logger(task_context(log_sink=entries.append), colour="red")
    logger.info("later", extra={"shape": "round"})
    assert messages(entries) == ["later"]


def test_tracebacks_are_sent_and_long_messages_cut() -> None:
    entries: list[Entry] = []
    logger = get_run_logger(task_context(log_sink=entries.append))
    try:
        raise ValueError("bad")
    except ValueError:
        logger.exception("it failed")
    logger.info("x" * 100_000)
    failure, long = messages(entries)
    assert failure.startswith("it failed\nTraceback")
    assert failure.endswith("ValueError: bad")
    assert len(long) < 33_000
    assert long.endswith("... (cut)")


def test_a_broken_sink_does_not_break_the_task(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Entry) -> None:
        raise ConnectionError("gone")

    monkeypatch.setattr(logging, "raiseExceptions", False)
    get_run_logger(task_context(log_sink=broken)).info("still here")
    assert "still here" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "shown"), [(None, {"INFO", "ERROR"}), ("debug", {"DEBUG", "INFO", "ERROR"}), ("40", {"ERROR"})]
)
def test_the_level_comes_from_the_environment(
    value: str | None, shown: set[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if value is not None:
        monkeypatch.setenv("TASKYARD_LOG_LEVEL", value)
    logger = get_run_logger(task_context())
    for level in (logging.DEBUG, logging.INFO, logging.ERROR):
        logger.log(level, "hello")
    lines = capsys.readouterr().err.splitlines()
    assert {line.split("|")[1].strip() for line in lines} == shown


def test_a_wrong_level_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKYARD_LOG_LEVEL", "LOUD")
    with pytest.raises(ValueError, match="TASKYARD_LOG_LEVEL is 'LOUD', which is no log level"):
        configure()


def test_the_root_logger_and_the_programs_own_handlers_are_left_alone() -> None:
    before = logging.getLogger().handlers[:]
    own = logging.NullHandler()
    logger = logging.getLogger("taskyard")
    logger.addHandler(own)
    logger.setLevel(logging.ERROR)
    configure()
    configure()
    assert logger.handlers == [own, loggers._sink]
    assert (logger.level, logger.propagate) == (logging.ERROR, True)
    assert logging.getLogger().handlers == before


def test_workers_send_records_without_showing_them(capsys: pytest.CaptureFixture[str]) -> None:
    entries: list[Entry] = []
    configure(console=False)
    get_run_logger(task_context(log_sink=entries.append)).info("quiet")
    assert messages(entries) == ["quiet"]
    assert capsys.readouterr().err == ""


def test_records_of_other_processes_are_shown_alike(capsys: pytest.CaptureFixture[str]) -> None:
    at_us = int(time.mktime((2026, 1, 2, 9, 55, 55, 0, 0, -1)) * 1_000_000) + 412_000
    show("f-0", at_us, logging.INFO, "100 % done")
    show("brave-otter", at_us, logging.ERROR, "gone", "taskyard.flow_runs")
    show("f-0", at_us, logging.DEBUG, "too much detail")
    assert capsys.readouterr().err.splitlines() == [
        "09:55:55.412 | INFO    | Task run 'f-0' - 100 % done",
        "09:55:55.412 | ERROR   | Flow run 'brave-otter' - gone",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    texts = []
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        get_run_logger(task_context()).info("Finished in state Completed() [x]")
        texts.append(stream.getvalue())
    assert "\x1b[" in texts[0]
    assert "\x1b[" not in texts[1]
    assert "[x]" in texts[0]


def test_get_logger_stays_below_taskyard() -> None:
    assert get_logger().name == "taskyard"
    assert get_logger("tasks").name == get_logger("taskyard.tasks").name == "taskyard.tasks"


@contextmanager
def printing() -> Iterator[io.StringIO]:
    """Stand in for the program's standard output, with the capture installed.

    Not a fixture: pytest replaces standard output between the set-up of a test and the test.
    """
    with redirect_stdout(io.StringIO()) as stream:
        capture_prints()
        yield stream


def test_row_15_prints_become_info_logs() -> None:
    entries: list[Entry] = []
    with printing() as printed, task_context(log_prints=True, log_sink=entries.append):
        print("one", 1)
        print("two", end="")
        print("\nthree")
    assert messages(entries) == ["one 1", "two", "three"]
    assert {entry[2] for entry in entries} == {logging.INFO}
    assert printed.getvalue() == ""


def test_row_15_other_runs_and_the_program_print_as_ever() -> None:
    entries: list[Entry] = []
    with printing() as printed:
        print("before")
        with task_context(log_prints=False, log_sink=entries.append):
            print("inside")
        print("after")
    assert printed.getvalue() == "before\ninside\nafter\n"
    assert entries == []


def test_a_line_without_an_end_is_logged_when_the_run_ends() -> None:
    entries: list[Entry] = []
    with printing(), task_context(log_prints=True, log_sink=entries.append):
        print("unfinished", end="")
        assert entries == []
    assert messages(entries) == ["unfinished"]


def test_a_task_that_does_not_log_prints_is_not_captured_by_its_flow() -> None:
    entries: list[Entry] = []
    with printing() as printed, flow_context(log_prints=True, log_sink=entries.append), task_context():
        print("task")
    assert (printed.getvalue(), entries) == ("task\n", [])


def test_the_capture_is_installed_once_and_is_the_real_stream_otherwise() -> None:
    with printing() as printed:
        capture = sys.stdout
        capture_prints()
        assert sys.stdout is capture
        assert isinstance(capture, PrintCapture)
        assert capture.real is printed
        capture.writelines(["a", "b"])
        assert capture.getvalue() == "ab"


def test_a_forked_child_captures_prints_whatever_other_threads_of_its_parent_did() -> None:
    with prints._lock:  # as a thread that is in the midst of it
        child = os.fork()
        if not child:
            signal.alarm(20)
            with prints.captured_prints():
                os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_other_processes_write_is_shown_where_the_last_call_was() -> None:
    cell = ContextVar("cell", default="none")
    seen: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(cell.get())

    columns = {"run_ids": [b"r"], "run_names": ["r"], "at_us": [1], "levels": [40], "messages": ["m"]}
    batch = LogBatch(**columns, loggers=["taskyard.task_runs"])
    logger, handler = logging.getLogger("taskyard.task_runs"), Handler()
    logger.addHandler(handler)

    def show() -> None:
        thread = threading.Thread(target=show_said, args=(batch, None))
        thread.start()
        thread.join()

    try:
        for number in "12":
            place = copy_context()
            place.run(cell.set, number)
            place.run(show_as_from_here)
            show()
            show()
    finally:
        logger.removeHandler(handler)
        show_as_from_here()
    assert seen == ["1", "1", "2", "2"]
