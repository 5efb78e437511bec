"""Who asks for something from the command line, and why: for the people who wonder later."""

import getpass
import socket
from typing import Annotated

import typer

ReasonOption = Annotated[
    str,
    typer.Option(
        metavar="TEXT",
        help="Why, for people. Shown with the run, or in the server's log.",
        show_default=False,
    ),
]


def who_asks() -> str:
    """Return whoever uses this terminal: 'ann@laptop'."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without a list of users
        user = "somebody"
    return f"{user}@{socket.gethostname()}"
