import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pytest

from taskyard_controlplane.log_file import FORMER_NAME, LOG_NAME, LogFile


@contextmanager
def logging_to(path: Path) -> Iterator[TextIO]:
    """Let standard error go into a file, to which others append too."""
    before = sys.stderr
    with open(path, "a") as file:
        sys.stderr = file
        try:
            yield file
        finally:
            sys.stderr = before


def test_a_log_that_is_too_long_is_begun_anew_and_all_write_on(tmp_path: Path):
    log_file = LogFile(tmp_path, most_bytes=100)
    with logging_to(tmp_path / LOG_NAME) as log, open(tmp_path / LOG_NAME, "a") as other:
        for turn in range(3):
            other.write(f"{turn}" * 101)
            other.flush()
            assert log_file.is_full()
            log_file.begin_anew()
            assert not log_file.is_full()
            log.write("from here\n")
            log.flush()
    assert (tmp_path / LOG_NAME).read_text() == "from here\n"
    assert (tmp_path / FORMER_NAME).read_text() == "from here\n" + "2" * 101
    assert stat.S_IMODE(os.stat(tmp_path / FORMER_NAME).st_mode) == 0o600


def test_a_log_elsewhere_is_left_alone(tmp_path: Path):
    (tmp_path / LOG_NAME).write_text("x" * 101)
    with logging_to(tmp_path / "terminal") as terminal:
        terminal.write("x" * 101)
        terminal.flush()
        assert not LogFile(tmp_path, most_bytes=100).is_full()


def test_a_log_that_was_removed_is_not_full(tmp_path: Path):
    with logging_to(tmp_path / LOG_NAME) as log:
        log.write("x" * 101)
        log.flush()
        assert LogFile(tmp_path, most_bytes=100).is_full()
        (tmp_path / LOG_NAME).unlink()
        assert not LogFile(tmp_path, most_bytes=100).is_full()


def test_what_cannot_be_copied_is_tried_again_later(tmp_path: Path):
    (tmp_path / FORMER_NAME).mkdir()
    log_file = LogFile(tmp_path, most_bytes=100)
    with logging_to(tmp_path / LOG_NAME) as log:
        log.write("x" * 101)
        log.flush()
        with pytest.raises(IsADirectoryError):
            log_file.begin_anew()
        assert not log_file.is_full()
    assert (tmp_path / LOG_NAME).stat().st_size == 101, "nothing is lost"
