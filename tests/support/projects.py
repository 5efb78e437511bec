"""Projects of users: a directory with files, executed as people do, by agents and by threads at once.

A program that is right with one is right with the other, so what both print has to be equal.
"""

import os
import subprocess
import textwrap
from collections.abc import Mapping
from pathlib import Path

from support.programs import HERE, Stage

SECONDS = 60.0
RUNNERS = ("agents", "threads")


class Project:
    """A directory of a user."""

    def __init__(self, stage: Stage, root: Path) -> None:
        self.root = root
        self._stage = stage
        root.mkdir(parents=True, exist_ok=True)

    def write(self, files: Mapping[str, str]) -> None:
        """Write files, whose texts may be indented."""
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text), encoding="utf-8")

    def start(
        self,
        *arguments: str,
        directory: Path | None = None,
        stdin: str = "",
        python: Path = HERE / "python",
        **environment: str,
    ) -> subprocess.Popen[str]:
        """Start Python in the directory of the project, or another one."""
        process = subprocess.Popen(
            [str(python), *arguments],
            cwd=directory or self.root,
            env={**self._stage.environment, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdin is not None
        process.stdin.write(stdin)
        process.stdin.close()
        process.stdin = None
        return process

    def agents(self, *arguments: str, **options: object) -> str:
        """Return what a program prints whose tasks agents execute."""
        return said(self.start(*arguments, **options))  # type: ignore[arg-type]  # as they are declared there

    def both(self, *arguments: str, **options: object) -> str:
        """Return what a program prints, with agents and with threads alike."""
        started = [
            self.start(*arguments, **options, TASKYARD_TASK_RUNNER=runner)  # type: ignore[arg-type]
            for runner in RUNNERS
        ]
        by_agents, by_threads = (said(process) for process in started)
        assert by_agents == by_threads
        return by_agents


def said(process: subprocess.Popen[str]) -> str:
    """Return what a process has printed when it has ended well.

    Raises:
        AssertionError: It ended otherwise.
    """
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        out, err = process.communicate()
        raise AssertionError(f"not within {SECONDS} s\n{out}\n{err}") from None
    assert process.returncode == 0, f"ended with {process.returncode}\n{out}\n{err}"
    return out
