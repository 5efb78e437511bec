"""Where the code of a flow comes from: a directory, or an object that fetches one.

What is fetched stays until this program ends: workers import it as well.
"""

import atexit
import inspect
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from taskyard.exceptions import ConfigurationError

_LOCAL: Final = ("file", "local")
_fetched: Final[list[tuple[int, str]]] = []


async def directory_of(source: object) -> Path:
    """Return the directory with the code of a source, after fetching it if that is needed.

    Args:
        source: A directory, or an object with `pull_code()`, which may be a coroutine function, and
            `destination`, and with `set_base_path(path)` if it is to be told where to put the code.

    Raises:
        TypeError: It is none of these.
        ConfigurationError: It is the URL of something that this release cannot fetch.
        FileNotFoundError: There is no such directory.
    """
    fetching = _begun(source)
    if inspect.isawaitable(fetching):
        await fetching
    return _place_of(source)


def directory_now(source: object) -> Path:
    """Return the same where no event loop runs; one is made only for a coroutine."""
    fetching = _begun(source)
    if inspect.isawaitable(fetching):
        import asyncio

        async def wait() -> None:
            await fetching

        asyncio.run(wait())
    return _place_of(source)


def _begun(source: Any) -> Any:
    """Begin to fetch what a source names; returns what has to be awaited for that, if anything has."""
    if isinstance(source, (str, os.PathLike)):
        return None
    pull = getattr(source, "pull_code", None)
    if not callable(pull) or not hasattr(source, "destination"):
        raise TypeError(
            f"Unsupported source type {type(source).__name__!r}. Please provide the path of a directory, or "
            "a storage object with pull_code() and destination."
        )
    set_base_path = getattr(source, "set_base_path", None)
    if callable(set_base_path):
        set_base_path(_kept_directory())
    return pull()


def _place_of(source: Any) -> Path:
    if isinstance(source, (str, os.PathLike)):
        return _existing(_local_path(os.fspath(source)))
    return _existing(str(source.destination))


def _local_path(source: str) -> str:
    parts = urlsplit(source)
    host = parts.hostname or ""
    if "://" not in source:
        # scp's way to name a repository: git@host:path
        before, colon, _ = source.partition(":")
        if not colon or "@" not in before or "/" in before:
            return source
        parts, host = parts._replace(scheme="ssh"), before.rpartition("@")[2]
    if parts.scheme in _LOCAL:
        return unquote(parts.path)
    raise ConfigurationError(
        f"flows cannot be loaded from {parts.scheme}://{host} in this release: it has no storage that "
        "fetches from URLs; clone, or download, the code and give its directory, or give an object with "
        "pull_code() and destination"
    )


def _existing(path: str) -> Path:
    directory = Path(path).expanduser()
    if not directory.is_dir():
        raise FileNotFoundError(f"the source of a flow must be a directory, and {str(directory)!r} is none")
    return directory.resolve()


def _kept_directory() -> Path:
    path = tempfile.mkdtemp(prefix="taskyard-source-")
    _fetched.append((os.getpid(), path))
    return Path(path)


def _remove_fetched() -> None:
    for process, path in _fetched:
        if process == os.getpid():  # not in a fork, whose parent still needs it
            shutil.rmtree(path, ignore_errors=True)


atexit.register(_remove_fetched)
