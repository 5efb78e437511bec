"""Files of the machine that the code runs on."""

import asyncio
import os
import shutil
import stat
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

from pydantic import Field, field_validator

from taskyard._async_dispatch import dispatched
from taskyard._durable_names import public
from taskyard._engine.results.storages import DirectoryStorage, Storage
from taskyard.filesystems.interfaces import Files, refuse_ignoring


class _NoFile(ValueError, FileNotFoundError):
    """There is no such file: what programs of Prefect catch, and what Python has for it."""


@public("taskyard.filesystems")
class LocalFileSystem(Files):
    """Files of the machine that the code runs on, below a path.

    Attributes:
        basepath: That path; by default the directory that the process is in.
    """

    _block_type_name: ClassVar[str | None] = "Local File System"

    basepath: str | None = Field(default=None, description="The path below which files are.")

    @field_validator("basepath", mode="before")
    @classmethod
    def _as_text(cls, path: Any) -> Any:
        return os.fspath(path) if isinstance(path, os.PathLike) else path

    def put_directory(
        self, local_path: str | None = None, to_path: str | None = None, ignore_file: str | None = None
    ) -> None:
        """Copy a directory with all that is in it from this machine to below the base path.

        Args:
            local_path: By default the directory that this process is in.
            to_path: Below the base path; by default the base path itself.
            ignore_file: Refused: nothing is left out.

        Raises:
            ValueError: It is outside of the base path, is no directory, or would be copied into itself.
            NotSupported: There is an `ignore_file`.
        """
        return dispatched(partial(self._put, local_path, to_path, ignore_file))

    async def aput_directory(
        self, local_path: str | None = None, to_path: str | None = None, ignore_file: str | None = None
    ) -> None:
        """Copy like `put_directory`, without blocking the event loop."""
        await asyncio.to_thread(self._put, local_path, to_path, ignore_file)

    def as_storage(self) -> Storage:
        """Return what keeps results there."""
        return DirectoryStorage(str(self._base()))

    def _base(self) -> Path:
        return Path(self.basepath or ".").expanduser().resolve()

    def _resolve_path(self, path: str | None) -> Path:
        """Return where a path is, with links followed."""
        base = self._base()
        found = base if path is None else (base / Path(path).expanduser()).resolve()
        if found != base and base not in found.parents:
            raise ValueError(f"Provided path {path} is outside of the base path {base}.")
        return found

    def _read(self, path: str) -> bytes:
        found = self._resolve_path(path)
        if not found.exists():
            raise _NoFile(f"Path {found} does not exist.")
        if not found.is_file():
            raise ValueError(f"Path {found} is not a file.")
        return found.read_bytes()

    def _write(self, path: str, content: bytes) -> str:
        found = self._resolve_path(path)
        if found.exists() and not found.is_file():
            raise ValueError(f"Path {found} already exists and is not a file.")
        if found == self._base():
            raise ValueError(f"Path {path!r} names no file below the base path {found}.")
        found.parent.mkdir(parents=True, exist_ok=True)
        name = found.parent / f".writing-{uuid4().hex}"
        try:
            with open(name, "xb") as file:  # for whom the umask says, as files of programs are
                if found.exists():
                    os.chmod(name, stat.S_IMODE(found.stat().st_mode))
                file.write(content)
            os.replace(name, found)  # so that nobody reads half of it
        except BaseException:
            name.unlink(missing_ok=True)
            raise
        return str(found)

    def _get(self, from_path: str | None, local_path: str | None) -> None:
        source = self._resolve_path(from_path)
        self._refuse_links_out_of(source)
        _copy(source, Path(local_path or ".").expanduser().resolve())

    def _put(self, local_path: str | None, to_path: str | None, ignore_file: str | None) -> None:
        refuse_ignoring(ignore_file)
        target = self._resolve_path(to_path)
        self._refuse_links_out_of(target)
        _copy(Path(local_path or ".").expanduser().resolve(), target)

    def _refuse_links_out_of(self, directory: Path) -> None:
        """Refuse a directory in which links lead out of the base path: what is copied would follow them."""
        base = self._base()
        left, seen = [directory] if directory.is_dir() else [], {directory}
        while left:
            for found in left.pop().iterdir():
                real = found.resolve()
                if found.is_symlink() and base != real and base not in real.parents:
                    raise ValueError(f"Path {found} leads to {real}, outside of the base path {base}.")
                if real.is_dir() and real not in seen:
                    seen.add(real)
                    left.append(real)


def _copy(source: Path, target: Path) -> None:
    """Copy a directory into another one, which may exist."""
    if source == target:
        return
    if not source.is_dir():
        raise ValueError(f"Path {source} is not a directory.")
    if source in target.parents:
        raise ValueError(f"Path {source} cannot be copied into itself, to {target}.")
    _refuse_circles(source)
    shutil.copytree(source, target, dirs_exist_ok=True)


def _refuse_circles(directory: Path, around: frozenset[Path] = frozenset()) -> None:
    """Refuse a directory that has, by a link, itself inside: a copy would have no end."""
    real = directory.resolve()
    if real in around:
        raise ValueError(f"Path {directory} leads back to {real}, which it is in.")
    for found in directory.iterdir():
        if found.is_dir():
            _refuse_circles(found, around | {real})
