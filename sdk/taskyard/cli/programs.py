"""Becomes, or starts, the programs behind ``server start``, ``agent start`` and ``dev``.

Invariant: a program that is started here keeps its own signals, output and exit code; this process is
replaced by it.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn


def command_of(module: str, arguments: Sequence[str]) -> list[str]:
    """Return the command line that runs a module with this interpreter."""
    return [sys.executable, "-m", module, *arguments]


def become(module: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> NoReturn:
    """Replace this process by a module's program.

    Args:
        module: What to run.
        arguments: Its command line.
        environment: What to add to the environment.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    command = command_of(module, arguments)
    os.execve(command[0], command, {**os.environ, **(environment or {})})


def flags(values: Mapping[str, object]) -> list[str]:
    """Return options and their values as arguments; None leaves an option to the program's default."""
    return [text for name, value in values.items() if value is not None for text in (name, str(value))]
