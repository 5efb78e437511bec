"""The kernel ends a child when its parent is killed, and a child that came too late ends by itself."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from taskyard_contract.programs import dying_with_parent
from taskyard_contract.programs.dying_with_parent import before_exec

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has this")

PARENT = """
import os, subprocess, sys
from taskyard_contract.programs.dying_with_parent import before_exec
child = subprocess.Popen(["sleep", "1000"], preexec_fn=before_exec({signum}))
print(child.pid, flush=True)
child.wait()
"""
SELF = """
import os, signal, sys
from taskyard_contract.programs.dying_with_parent import die_with
die_with(int(sys.argv[1]), signal.SIGTERM)
print("still here")
"""


def ended(pid: int) -> bool:
    """Wait for the end of a process that is not a child of this one."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    import select

    try:
        return bool(select.select([descriptor], [], [], 10)[0])
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_a_child_ends_with_a_parent_that_is_killed(signum: signal.Signals) -> None:
    command = [sys.executable, "-c", PARENT.format(signum=int(signum))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    assert ended(child)


@pytest.mark.parametrize(("parent", "output"), [(os.getpid, "still here\n"), (os.getppid, "")])
def test_a_process_whose_parent_has_gone_ends_itself(parent: object, output: str) -> None:
    assert callable(parent)
    done = subprocess.run([sys.executable, "-c", SELF, str(parent())], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == (output, 0)


def test_elsewhere_children_are_started_all_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dying_with_parent.sys, "platform", "darwin")
    assert before_exec(signal.SIGTERM) is None
    dying_with_parent.die_with(os.getppid(), signal.SIGTERM)
