"""Programs of modules, which end with whoever has started them."""

import os
import subprocess
from pathlib import Path

import pytest

from taskyard_contract.programs import beside_parent

MODULE = """
import sys
if __name__ == "__main__":
    print(sys.argv[1:], sys.modules["__main__"].__spec__.name)
    sys.exit(7)
"""


def run(parent: int, directory: Path) -> subprocess.CompletedProcess[str]:
    (directory / "program.py").write_text(MODULE)
    command = beside_parent.command(parent, "program", ["--one", "2"])
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)


def test_it_is_the_program_of_the_module(tmp_path: Path) -> None:
    done = run(os.getpid(), tmp_path)
    assert (done.stdout, done.returncode) == ("['--one', '2'] program\n", 7), done.stderr


@pytest.mark.skipif(not os.path.exists("/proc"), reason="only Linux ends children with their parents")
def test_it_does_not_begin_when_its_parent_has_ended(tmp_path: Path) -> None:
    done = run(1, tmp_path)  # as the process that started it would have to be called then
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
