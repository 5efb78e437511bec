"""The yard is played by a few lines of Python: what matters is how this command treats its process."""

import signal
import sys
from pathlib import Path

import pytest

from taskyard.cli.commands import dev

READY = "print('ready', flush=True);"


@pytest.fixture(autouse=True)
def _handlers():
    """Give back the signal handlers that the command takes for itself."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def supervise(program: str, directory: Path) -> int:
    return dev._supervise([sys.executable, "-c", program], directory)


def test_the_ready_line_says_what_to_do_next(capfd, tmp_path, monkeypatch):
    monkeypatch.setenv("TASKYARD_HOME", str(tmp_path))
    assert supervise(READY, tmp_path) == 0
    (line,) = capfd.readouterr().out.splitlines()
    assert line.startswith(f"taskyard yard ready on unix:{tmp_path}/yard.sock; ")
    assert "taskyard run ls" in line


def test_a_yard_elsewhere_has_to_be_named(capfd, tmp_path, monkeypatch):
    monkeypatch.setenv("TASKYARD_HOME", str(tmp_path / "usual"))
    supervise(READY, tmp_path / "other")
    assert f"TASKYARD_SERVER=unix:{tmp_path}/other/yard.sock" in capfd.readouterr().out


def test_a_yard_that_does_not_start_leaves_its_exit_code(capfd, tmp_path):
    assert supervise("raise SystemExit(4)", tmp_path) == 4
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_yard_in_order(tmp_path, number):
    program = (
        "import os, signal;"
        "signal.signal(signal.SIGTERM, lambda *_: os._exit(0));"
        f"{READY} os.kill(os.getppid(), {int(number)}); signal.pause()"
    )
    assert supervise(program, tmp_path) == 0


def test_a_yard_that_was_killed_is_no_success(tmp_path):
    assert supervise(f"import os; {READY} os.kill(os.getpid(), 9)", tmp_path) == 128 + signal.SIGKILL


def test_the_yard_does_not_share_the_terminal(tmp_path, capfd):
    program = f"import os, sys; {READY} sys.stderr.write(str(os.getsid(0) == os.getpid()))"
    supervise(program, tmp_path)
    # Where an earlier test has left gRPC running in this process, it prints a line at every fork.
    assert capfd.readouterr().err.splitlines()[-1] == "True"
