"""Where records of results are kept: a directory, object storage, or an object of the user's.

Invariant: an error of a storage says where it happened; that something is not there is no error but
`FileNotFoundError`, whichever storage is asked.
"""

import asyncio
import inspect
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Final, Protocol

from taskyard.exceptions import ResultStorageError

_OF_CLIENTS: Final = frozenset(
    [
        *("allow_http", "allow_invalid_certificates", "connect_timeout", "http1_only", "http2_only"),
        *("proxy_url", "timeout", "user_agent"),
    ]
)
"""What has to be known of a connection, not of a storage: obstore is told these apart."""
HEAD_BYTES: Final = 16 * 1024
"""What is read of a record to know what it says of itself."""


class Storage(Protocol):
    """What keeps records by keys."""

    @property
    def given(self) -> Any:
        """What an option says to mean this storage: text, or an object."""
        ...

    @property
    def name(self) -> str:
        """What tells it from other storages, in every process."""
        ...

    def write(self, key: str, data: bytes) -> None:
        """Keep data under a key, instead of what was there."""
        ...

    def read(self, key: str) -> bytes:
        """Return what is kept under a key."""
        ...

    def head(self, key: str) -> bytes:
        """Return its first `HEAD_BYTES` at least, if it has so many."""
        ...

    def place(self, key: str) -> str:
        """Say for people where a key is."""
        ...


@dataclass(frozen=True)
class DirectoryStorage:
    """A directory: a key is a path in it."""

    directory: str

    @property
    def given(self) -> str:
        """The directory."""
        return self.directory

    @property
    def name(self) -> str:
        """The directory."""
        return self.directory

    def write(self, key: str, data: bytes) -> None:
        """Write a file that is whole, and on the disk, before it has its name."""
        with _errors(self, key, "written"):
            path = self._path(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=".writing-", dir=path.parent)
            try:
                with open(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(name, path)
            except BaseException:
                os.unlink(name)
                raise
            _sync(path.parent)

    def read(self, key: str) -> bytes:
        """Read a file."""
        with _errors(self, key, "read"):
            return self._path(key).read_bytes()

    def head(self, key: str) -> bytes:
        """Read the beginning of a file."""
        with _errors(self, key, "read"), open(self._path(key), "rb") as file:
            return file.read(HEAD_BYTES)

    def place(self, key: str) -> str:
        """Name the file."""
        return str(Path(self.directory, key))

    def _path(self, key: str) -> Path:
        if PurePosixPath(key).is_absolute() or ".." in PurePosixPath(key).parts or not key or "\0" in key:
            raise ValueError(f"the key {key!r} is no path inside of {self.directory}")
        return Path(self.directory, key)


@dataclass(frozen=True)
class ObjectStorage:
    """A bucket, or a part of one."""

    url: str
    config: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """What has to be known to get there, beside what is in the environment; often a secret."""

    @property
    def given(self) -> str:
        """The URL."""
        return self.url

    @property
    def name(self) -> str:
        """The URL."""
        return self.url

    def write(self, key: str, data: bytes) -> None:
        """Put an object."""
        with _errors(self, key, "written"):
            object_store(self.url, os.getpid(), self.config).put(key, data)

    def read(self, key: str) -> bytes:
        """Get an object."""
        with _errors(self, key, "read"):
            return bytes(object_store(self.url, os.getpid(), self.config).get(key).bytes())

    def head(self, key: str) -> bytes:
        """Get the beginning of an object."""
        with _errors(self, key, "read"):
            client = object_store(self.url, os.getpid(), self.config)
            size = int(client.head(key)["size"])
            return bytes(client.get_range(key, start=0, end=min(size, HEAD_BYTES))) if size else b""

    def place(self, key: str) -> str:
        """Name the object."""
        return f"{self.url.rstrip('/')}/{key}"


@cache
def object_store(url: str, process: int, config: tuple[tuple[str, str], ...] = ()) -> Any:
    """Return what talks to object storage: one for each process, its connections do not survive a fork."""
    from obstore.store import from_url

    made: Any = from_url
    if not config:
        return made(url)
    client = {name: value for name, value in config if name in _OF_CLIENTS}
    return made(
        url,
        config={name: value for name, value in config if name not in client},
        client_options=client or None,
    )


@dataclass(frozen=True, eq=False)
class OwnStorage:
    """An object of the user's that reads and writes paths, in a function or in a coroutine."""

    object: Any

    @property
    def given(self) -> Any:
        """The object."""
        return self.object

    @property
    def name(self) -> str:
        """The class of the object: what it looks like otherwise may differ from process to process."""
        return f"{type(self.object).__module__}.{type(self.object).__qualname__}"

    def __eq__(self, other: object) -> bool:
        """Be equal for the very object: it may not say when two are."""
        return isinstance(other, OwnStorage) and self.object is other.object

    def __hash__(self) -> int:
        return id(self.object)

    def write(self, key: str, data: bytes) -> None:
        """Let the object write a path."""
        with _errors(self, key, "written"):
            _waited(self.object.write_path(key, data))

    def read(self, key: str) -> bytes:
        """Let the object read a path."""
        with _errors(self, key, "read"):
            return bytes(_waited(self.object.read_path(key)))

    def head(self, key: str) -> bytes:
        """Read all of it: the object knows no parts."""
        return self.read(key)

    def place(self, key: str) -> str:
        """Name the object and the path."""
        return f"{key!r} in {self.object!r}"


def _waited(answer: Any) -> Any:
    """Return what a method answers, also where it is a coroutine function."""
    if not inspect.isawaitable(answer):
        return answer

    async def wait() -> Any:
        return await answer

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(wait())
    with ThreadPoolExecutor(1) as thread:  # a loop runs here, and another one cannot
        return thread.submit(asyncio.run, wait()).result()


@contextmanager
def _errors(storage: Storage, key: str, verb: str) -> Iterator[None]:
    """Say where something went wrong.

    Raises:
        FileNotFoundError: There is nothing under the key.
        ResultStorageError: The storage cannot be used, or does not answer.
    """
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        if verb == "read":
            raise FileNotFoundError(storage.place(key)) from error
        raise _unusable(storage, key, verb, error) from error
    except Exception as error:  # of a library, or of the user's object: any
        if verb == "read" and type(error).__name__ == "NotFoundError":
            raise FileNotFoundError(storage.place(key)) from error
        raise _unusable(storage, key, verb, error) from error


def _unusable(storage: Storage, key: str, verb: str, error: Exception) -> ResultStorageError:
    return ResultStorageError(
        f"a result could not be {verb} at {storage.place(key)}: {type(error).__name__}: {error}"
    )


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
