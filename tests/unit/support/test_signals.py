"""The suite hears interrupts wherever it runs."""

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]
REPORT = "import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
SUITE = f"""
import signal, subprocess, sys
{{hearing}}
subprocess.run([sys.executable, "-c", {REPORT!r}], check=True)
"""
HEARING = "from support.signals import hear_interrupts; hear_interrupts()"


def started_with_interrupts_ignored(program: str) -> str:
    # By a shell, as nohup and background commands do it.
    command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-c", program]
    return subprocess.run(command, cwd=TESTS, capture_output=True, text=True, check=True).stdout.strip()


def test_children_hear_interrupts_although_the_parent_of_the_suite_ignores_them():
    assert started_with_interrupts_ignored(SUITE.format(hearing=HEARING)) == "False"


def test_without_that_they_would_not():
    assert started_with_interrupts_ignored(SUITE.format(hearing="")) == "True"
