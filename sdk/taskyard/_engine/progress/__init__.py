"""How far the flow runs of this process are, below what the program prints."""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from taskyard import settings
from taskyard.logging import terminal

if TYPE_CHECKING:
    from taskyard._engine.progress.watched import Place
    from taskyard._network.session.session import Session


def showing(name: str, place: "Place", session: "Session") -> AbstractContextManager[None]:
    """Return an entry that shows how far a flow run is, where somebody looks at a terminal and wants that.

    Raises:
        ValueError: The environment says neither that it is wanted nor that it is not.
    """
    if not settings.shows_progress() or session.caller_run_id or not terminal.size()[0]:
        return nullcontext()
    from taskyard._engine.progress.board import board  # only programs on a terminal need it

    return board.showing(name, place, session)
