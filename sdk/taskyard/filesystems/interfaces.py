"""What blocks can do with files, and what those that come with Taskyard have in common."""

import asyncio
from abc import ABC, abstractmethod
from functools import partial
from typing import Any, ClassVar

from taskyard._async_dispatch import dispatched
from taskyard._durable_names import public
from taskyard._engine.results.storages import Storage
from taskyard.blocks.core import Block
from taskyard.exceptions import NotSupported


@public("taskyard.filesystems")
class ReadableFileSystem(Block, ABC):
    """A block that reads files."""

    _block_schema_capabilities: ClassVar[list[str] | None] = ["read-path"]

    @abstractmethod
    def read_path(self, path: str) -> bytes:
        """Return what a file holds."""


@public("taskyard.filesystems")
class WritableFileSystem(Block, ABC):
    """A block that reads and writes files; saved, it is a `result_storage`."""

    _block_schema_capabilities: ClassVar[list[str] | None] = ["read-path", "write-path"]

    @abstractmethod
    def read_path(self, path: str) -> bytes:
        """Return what a file holds."""

    @abstractmethod
    def write_path(self, path: str, content: bytes) -> Any:
        """Write a file."""


@public("taskyard.filesystems")
class ReadableDeploymentStorage(Block, ABC):
    """A block that fetches directories."""

    _block_schema_capabilities: ClassVar[list[str] | None] = ["get-directory"]

    @abstractmethod
    def get_directory(self, from_path: str | None = None, local_path: str | None = None) -> Any:
        """Copy a directory from there to here."""


@public("taskyard.filesystems")
class WritableDeploymentStorage(Block, ABC):
    """A block that fetches and stores directories."""

    _block_schema_capabilities: ClassVar[list[str] | None] = ["get-directory", "put-directory"]

    @abstractmethod
    def get_directory(self, from_path: str | None = None, local_path: str | None = None) -> Any:
        """Copy a directory from there to here."""

    @abstractmethod
    def put_directory(
        self, local_path: str | None = None, to_path: str | None = None, ignore_file: str | None = None
    ) -> Any:
        """Copy a directory from here to there."""


class Files(WritableFileSystem, WritableDeploymentStorage, ABC):
    """What both have in common: methods for code of both kinds."""

    _block_schema_capabilities: ClassVar[list[str] | None] = [
        *("get-directory", "put-directory"),
        *("read-path", "write-path"),
    ]

    def read_path(self, path: str) -> bytes:
        """Return what a file holds.

        Args:
            path: Below the base path, or all of it.

        Raises:
            FileNotFoundError: There is none. It is a `ValueError` as well where files are local.
            ValueError: The path is outside of the base path, or is no file.
        """
        return dispatched(partial(self._read, path))

    async def aread_path(self, path: str) -> bytes:
        """Read like `read_path`, without blocking the event loop."""
        return await asyncio.to_thread(self._read, path)

    def write_path(self, path: str, content: bytes) -> str:
        """Write a file, and return its whole path; directories are made.

        Args:
            path: Below the base path, or all of it.
            content: What it is to hold.

        Raises:
            ValueError: The path is outside of the base path, or is something else than a file.
        """
        return dispatched(partial(self._write, path, content))

    async def awrite_path(self, path: str, content: bytes) -> str:
        """Write like `write_path`, without blocking the event loop."""
        return await asyncio.to_thread(self._write, path, content)

    def get_directory(self, from_path: str | None = None, local_path: str | None = None) -> None:
        """Copy a directory with all that is in it from there to this machine.

        Args:
            from_path: Below the base path; by default the base path itself.
            local_path: By default the directory that this process is in.

        Raises:
            ValueError: It is outside of the base path, is no directory, or would be copied into itself.
        """
        return dispatched(partial(self._get, from_path, local_path))

    async def aget_directory(self, from_path: str | None = None, local_path: str | None = None) -> None:
        """Copy like `get_directory`, without blocking the event loop."""
        await asyncio.to_thread(self._get, from_path, local_path)

    @abstractmethod
    def as_storage(self) -> Storage:
        """Return what keeps results there."""

    @abstractmethod
    def _read(self, path: str) -> bytes: ...

    @abstractmethod
    def _write(self, path: str, content: bytes) -> str: ...

    @abstractmethod
    def _get(self, from_path: str | None, local_path: str | None) -> None: ...


def refuse_ignoring(ignore_file: str | None) -> None:
    if ignore_file is not None:
        raise NotSupported(
            f"ignore_file={ignore_file!r} cannot be used: all files of a directory are copied in this"
            " release; copy what is wanted into a directory of its own"
        )
