"""Becomes, or starts, the programs behind ``server start``, ``agent start`` and ``dev``.

Invariant: a program that is started here keeps its own signals, output and exit code; this process is
replaced by it.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Final, NoReturn

from taskyard.cli.exits import CliError, ExitCode

_NEEDED: Final[dict[str, tuple[str, ...]]] = {
    "server": ("taskyard_controlplane", "sqlalchemy", "alembic", "grpc_health", "grpc_reflection"),
    "agent": ("taskyard_agent",),
    "postgres": ("psycopg",),
}
"""What each extra of the distribution brings, as far as its programs cannot start without it."""


def require_extra(extra: str, command: str) -> None:
    """Make sure that the packages of an extra are installed.

    Raises:
        CliError: One is missing; the message says what to install.
    """
    missing = [name for name in _NEEDED[extra] if find_spec(name) is None]
    if missing:
        raise CliError(
            f"'{command}' needs {', '.join(missing)}, which is not installed; "
            f"install it with: pip install 'taskyard[{extra}]'",
            ExitCode.NOT_INSTALLED,
        )


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
