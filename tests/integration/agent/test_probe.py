"""What an agent asks of the modules it is to serve, whatever these do while they are imported."""

import os
import select
import sys
import time
from pathlib import Path

import pytest

from taskyard_agent.processes.served_tasks import offers_of

TASK = """
from taskyard import task

@task(name="told")
def told(): ...
"""

FORKS = """
import os, pathlib, threading, time

threading.Thread(target=time.sleep, args=(60,)).start()
child = os.fork()
if child == 0:
    time.sleep(60)
pathlib.Path(__file__).with_suffix(".child").write_text(str(child))
"""

GOES_ON_TWICE = """
import os

os.fork()
"""

HANGS = """
import time

try:
    time.sleep(60)
except Exception:
    pass
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where modules are found."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, sys.path)]))
    return tmp_path


def has_ended(pid: int) -> bool:
    """Say whether a process ends soon, which nobody here is the parent of."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], 10)[0])
    finally:
        os.close(process)


def test_nobody_waits_for_what_a_module_leaves_behind(modules: Path) -> None:
    (modules / "forking.py").write_text(FORKS + TASK)
    began = time.monotonic()
    offers = offers_of(["forking"])
    assert offers is not None
    assert [offer.name for offer in offers] == ["told"]
    assert time.monotonic() - began < 30
    assert has_ended(int((modules / "forking.child").read_text()))


def test_a_module_whose_copy_goes_on_is_told_once(modules: Path) -> None:
    (modules / "doubling.py").write_text(GOES_ON_TWICE + TASK)
    offers = offers_of(["doubling"])
    assert offers is not None
    assert [offer.name for offer in offers] == ["told"]


def test_a_module_that_hangs_is_named(modules: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (modules / "quick.py").write_text(TASK)
    (modules / "hanging.py").write_text(HANGS + TASK)
    assert offers_of(["quick", "hanging"], seconds=2) is None
    assert "error: the module 'hanging' is not imported after 2 seconds" in capfd.readouterr().err
