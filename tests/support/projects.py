"""Projects of users: a directory with files, executed as people do, by agents and by threads at once.

A program that is right with one is right with the other, so what both print has to be equal.
"""

import os
import re
import signal
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
        ended = [_ended(process) for process in started]
        by_agents, by_threads = (_checked(*one) for one in ended)
        assert by_agents == by_threads, f"agents:\n{by_agents}\nthreads:\n{by_threads}"
        return by_agents


def said(process: subprocess.Popen[str]) -> str:
    """Return what a process has printed when it has ended well.

    Raises:
        AssertionError: It ended otherwise.
    """
    return _checked(*_ended(process))


def _ended(process: subprocess.Popen[str]) -> tuple[int | None, str, str]:
    try:
        out, err = process.communicate(timeout=SECONDS)
        return process.returncode, out, err
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return None, *process.communicate()


def _checked(code: int | None, out: str, err: str) -> str:
    assert code == 0, f"{'not in time' if code is None else f'ended with {code}'}\n{out}\n{err}"
    return out


CASES = """
from taskyard import flow, task

def case(name, call):
    try:
        result = call()
    except BaseException as error:
        result = f"{type(error).__name__}: {error}".splitlines()[0]
    print(name, "->", result, flush=True)

@flow(log_prints=False)
def run(function, *args, **kwargs):
    return function(*args, **kwargs)

@task
def same(value):
    return value
"""
"""The beginning of programs that print what each of their cases returns or raises."""


def cases(project: Project, program: str) -> dict[str, str]:
    """Return what the cases of a program print, which has to be the same with agents and with threads."""
    text = textwrap.dedent(program)
    future = "from __future__ import annotations\n"
    first = future if future in text else ""  # it has to be the first line
    project.write({"cases.py": first + CASES + text.replace(future, "")})
    lines = project.both("cases.py").splitlines()
    return dict(line.split(" -> ", 1) for line in lines)  # type: ignore[misc]  # there are two parts


_RIGHT = r"True|\((True,? ?)+\)"


def right(project: Project, program: str) -> None:
    """Check that all cases of a program return True, or tuples of nothing else."""
    found = cases(project, program)
    wrong = {name: text for name, text in found.items() if not re.fullmatch(_RIGHT, text)}
    assert found
    assert wrong == {}
