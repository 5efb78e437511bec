"""Where Taskyard keeps what belongs to a person and a machine, and what the local yard has in there.

All programs must find the same directory: the SDK looks there for the socket on which the yard listens.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from taskyard_contract.programs.private_files import NotOurs, close_to_others, make_directory

if TYPE_CHECKING:
    from pathlib import Path

HOME: Final = "TASKYARD_HOME"
"""The environment variable that says where."""
YARD_SOCKET: Final = "yard.sock"
YARD_DATABASE: Final = "taskyard.db"


class HomeUnusable(RuntimeError):
    """There is no directory to keep things in; what to set is in the message."""


def home_directory(environment: Mapping[str, str]) -> "Path":
    """Return the directory that an environment asks for, ``~/.taskyard`` where it does not say.

    Absolute, because programs change their working directory, and with ``~`` resolved: a variable that was
    set in a service's configuration has not been through a shell.

    Raises:
        HomeUnusable: There is no home directory, as for a user whom a container made up.
    """
    # Only the local yard needs a path, so only programs that look for it pay for the import.
    from pathlib import Path

    path = Path(environment.get(HOME) or "~/.taskyard")
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise HomeUnusable(
            f"'{path}' means nothing: this user has no home directory; set {HOME} to a directory"
        ) from None


def make_home(home: "Path") -> None:
    """Make a home that may not exist yet, for its user alone; one that others can read is closed to them.

    Raises:
        HomeUnusable: It cannot be made, or belongs to somebody else.
    """
    try:
        make_directory(home)
        close_to_others(home)
    except OSError as error:
        raise HomeUnusable(
            f"the directory {home} cannot be made ({error.strerror}); set {HOME} to one that can"
        ) from None
    except NotOurs as error:
        raise HomeUnusable(f"{error}; set {HOME} to a directory of this user alone") from None


def yard_address(home: "Path") -> str:
    """Return the address of the yard in a directory."""
    return f"unix:{home / YARD_SOCKET}"


def database_url(path: "Path") -> str:
    """Return the URL of the SQLite database in a file: no character of its name means anything in there."""
    from urllib.parse import quote  # only servers have one

    return f"sqlite:///{quote(os.fsencode(path))}"
