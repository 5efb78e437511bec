"""How far the flow runs of this process are, below what the program prints."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from taskyard import settings
from taskyard.exceptions import ConfigurationError
from taskyard.logging import terminal

if TYPE_CHECKING:
    from taskyard._engine.progress.watched import Place
    from taskyard._network.session.session import Session


def is_wanted(session: "Session") -> bool:
    """Say whether somebody looks at a terminal, and wants to see there how far flow runs are.

    Raises:
        ConfigurationError: The environment says neither that it is wanted nor that it is not.
    """
    try:
        wanted = settings.shows_progress()
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    return wanted and not session.caller_run_id and bool(terminal.size()[0])


def showing(name: str, place: "Place", session: "Session") -> AbstractContextManager[None]:
    """Return an entry that shows how far a flow run is."""
    from taskyard._engine.progress.board import board  # only programs on a terminal need it

    return board.showing(name, place, session)
