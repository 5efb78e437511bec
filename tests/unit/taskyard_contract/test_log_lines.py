import io
import logging
import os
import re
import sys
from pathlib import Path

import pytest

from taskyard_contract.programs.log_lines import LineFormatter, say_ready

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}"


def line_of(**extra: str) -> str:
    record = logging.LogRecord("taskyard.task_runs", logging.ERROR, "file", 1, "it is %s", ("so",), None)
    vars(record).update(extra)
    return LineFormatter().format(record)


def test_a_line_says_when_and_what():
    assert re.fullmatch(f"{TIME} ERROR taskyard.task_runs: it is so", line_of())


@pytest.mark.parametrize(
    ("extra", "subject"),
    [
        ({"task_run_name": "load-3", "flow_run_name": "nightly"}, "Task run 'load-3'"),
        ({"flow_run_name": "nightly"}, "Flow run 'nightly'"),
    ],
)
def test_a_line_of_a_run_names_it(extra: dict[str, str], subject: str):
    assert line_of(**extra).endswith(f" ERROR taskyard.task_runs: {subject} - it is so")


def test_a_record_may_be_formatted_more_than_once():
    record = logging.LogRecord("a", logging.INFO, "file", 1, "text", (), None)
    record.task_run_name = "t"
    assert LineFormatter().format(record) == LineFormatter().format(record)


def test_the_ready_line_is_printed(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture):
    say_ready("ready", logging.getLogger("test"))
    assert capsys.readouterr().out == "ready\n"
    assert caplog.records == []


@pytest.mark.parametrize("same", [True, False])
def test_in_a_file_that_is_the_log_the_ready_line_is_one_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, same: bool
):
    caplog.set_level(logging.INFO)
    with open(tmp_path / "log", "a") as log, open(tmp_path / "out", "a") as out:
        monkeypatch.setattr(sys, "stderr", log)
        monkeypatch.setattr(sys, "stdout", os.fdopen(os.dup(log.fileno()), "a") if same else out)
        say_ready("ready", logging.getLogger("test"))
        sys.stdout.close()
        monkeypatch.undo()
    assert [record.message for record in caplog.records] == (["ready"] if same else [])
    assert (tmp_path / "out").read_text() == ("" if same else "ready\n")


def test_a_log_that_takes_no_such_lines_has_it_as_it_was_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with open(tmp_path / "log", "a") as log:
        monkeypatch.setattr(sys, "stderr", log)
        monkeypatch.setattr(sys, "stdout", log)
        quiet = logging.getLogger("quiet")
        quiet.setLevel(logging.ERROR)
        say_ready("ready", quiet)
        monkeypatch.undo()
    assert (tmp_path / "log").read_text() == "ready\n"


def test_without_files_it_is_printed(monkeypatch: pytest.MonkeyPatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    say_ready("ready", logging.getLogger("test"))
    assert out.getvalue() == "ready\n"
