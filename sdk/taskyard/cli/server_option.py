"""Which server a command talks to: the option, else the environment, else the local yard."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from taskyard import settings
from taskyard._network.server.local_yard import ensure_yard, has_yard
from taskyard.cli.exits import CliError, ExitCode
from taskyard_contract.errors import ConnectionFailed
from taskyard_contract.transport.channels import target_of

if TYPE_CHECKING:
    from taskyard._network.server.calls import Client

CALL_SECONDS: Final = 10.0
"""How long a person at a terminal waits for an answer that should take milliseconds."""

ServerOption = Annotated[
    str,
    typer.Option(
        "--server",
        envvar=settings.SERVER,
        metavar="ADDRESS",
        help="HOST:PORT or unix:PATH of a server. Without it: the local yard.",
        show_default=False,
    ),
]


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
    directory = settings.home()
    if not has_yard(directory):
        raise CliError(
            f"no server was named and there is no local yard in {directory}; run a program that calls tasks, "
            "start a yard with 'taskyard dev', or name a server with --server HOST:PORT or TASKYARD_SERVER",
            ExitCode.UNREACHABLE,
        )
    return ensure_yard()


@contextmanager
def calls_of(server: str) -> "Iterator[Client]":
    """Enter the calls of a server, for one command.

    Args:
        server: What the person named; empty means the local yard.

    Raises:
        CliError: The address is malformed, there is no local yard, or nobody answers.
    """
    from taskyard._network.server.calls import Client

    address = address_of(server)
    try:
        target_of(address)
    except ValueError as error:
        raise CliError(str(error), ExitCode.USAGE) from None
    try:
        with Client(address, CALL_SECONDS) as client:
            yield client
    except ConnectionFailed as error:
        raise CliError(
            f"{address}: {error} 'taskyard dev' starts a yard, 'taskyard server start' a server",
            ExitCode.UNREACHABLE,
        ) from None
