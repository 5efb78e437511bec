"""Which server a command talks to: the option, else the environment, else the local yard."""

from pathlib import Path
from typing import Annotated

import typer

from taskyard._network.server.local_yard import YARD_DATABASE, ensure_yard, yard_home
from taskyard.cli.exits import CliError, ExitCode

ServerOption = Annotated[
    str,
    typer.Option(
        "--server",
        envvar="TASKYARD_SERVER",
        metavar="ADDRESS",
        help="HOST:PORT or unix:PATH of a server. Without it: the local yard.",
        show_default=False,
    ),
]


def yard_address(directory: Path) -> str:
    """Return the address of the yard whose home is `directory`."""
    return f"unix:{directory / 'yard.sock'}"


def address_of(server: str) -> str:
    """Return the address to call.

    A local yard that has ended, because it was idle, is started again: its runs are still there.

    Args:
        server: What the person named; empty means the local yard.

    Raises:
        CliError: No server was named and there has never been a local yard.
        ConnectionFailed: The local yard does not start.
    """
    if server:
        return server
    directory = yard_home()
    if not (directory / YARD_DATABASE).exists():
        raise CliError(
            f"no server was named and there is no local yard in {directory}; run a program that calls tasks, "
            "start a yard with 'taskyard dev', or name a server with --server HOST:PORT or TASKYARD_SERVER",
            ExitCode.UNREACHABLE,
        )
    return ensure_yard()
