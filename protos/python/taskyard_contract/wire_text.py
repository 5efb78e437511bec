"""Text for messages: protobuf takes UTF-8 only, and a frame has a limit.

Names of files, for example, may hold bytes that are no text; Python keeps them as surrogates.
"""

from typing import Final

MESSAGE_LIMIT: Final = 8 * 1024
"""Bytes of what is said about a run: it is in the run's row and goes to everybody who waits for the run."""
NAME_LIMIT: Final = 1024
"""Bytes of a name that users make up, for a state say. Longer ones would be no names, and cost the same."""

LOG_LIMIT: Final = 32 * 1024
"""Bytes of a log record's text."""


def printable(text: str) -> str:
    """Return a text that can be sent: what is no character becomes an escape sequence."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def cut(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Cut a text from its end to at most `limit` bytes."""
    data = text.encode("utf-8", "backslashreplace")
    return data.decode() if len(data) <= limit else data[:limit].decode("utf-8", "ignore") + "..."


def cut_front(text: str, limit: int) -> str:
    """Cut a text from its front: the end of a traceback says most."""
    data = text.encode("utf-8", "backslashreplace")
    return data.decode() if len(data) <= limit else "..." + data[-limit:].decode("utf-8", "ignore")


def bounded(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """Cut a text like `cut`; quicker for texts that are nearly always far shorter."""
    return text if len(text) * 4 <= limit else cut(text, limit)
