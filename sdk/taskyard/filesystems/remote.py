"""Files in object storage."""

import asyncio
import os
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from taskyard._async_dispatch import dispatched
from taskyard._durable_names import public
from taskyard._engine.results.choosing import OBJECT_SCHEMES
from taskyard._engine.results.storages import ObjectStorage, Storage, object_store
from taskyard.exceptions import ConfigurationError
from taskyard.filesystems.interfaces import Files, refuse_ignoring

_OTHER_NAMES: Final = {
    "key": "access_key_id",
    "secret": "secret_access_key",
    "token": "session_token",
    "endpoint_url": "endpoint",
}
"""What fsspec calls settings of object storage, and obstore."""


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@public("taskyard.filesystems")
class RemoteFileSystem(Files):
    """Files in object storage, below a URL.

    Attributes:
        basepath: The URL, s3://bucket/prefix, gs://..., az://...
        settings: What obstore has to know to get there ("endpoint", "access_key_id"), beside what it finds
            in the environment. Names of fsspec are understood for S3. They are no secrets: who may read
            blocks may read them.
    """

    _block_type_name: ClassVar[str | None] = "Remote File System"

    basepath: str = Field(description="The URL below which files are.")
    settings: dict[str, Any] = Field(
        default_factory=dict,
        description="What is needed to get there.",
        repr=False,  # often a secret, whatever is said of it, and texts of errors have blocks in them
    )

    @field_validator("basepath")
    @classmethod
    def _checked_base(cls, url: str) -> str:
        parts = urlsplit(url)
        if not parts.scheme:
            raise ValueError(f"Base path must start with a scheme. Got {url!r}.")
        if not parts.netloc:
            raise ValueError(f"Base path must include a location after the scheme. Got {url!r}.")
        if parts.scheme == "file":
            raise ValueError(
                "Base path scheme cannot be 'file'. Use `LocalFileSystem` instead for local file access."
            )
        if parts.scheme not in OBJECT_SCHEMES:
            raise ValueError(
                f"Base path has the scheme '{parts.scheme}', which is no storage; known are"
                f" {', '.join(OBJECT_SCHEMES)}. Got {url!r}."
            )
        return url

    def put_directory(
        self,
        local_path: str | None = None,
        to_path: str | None = None,
        ignore_file: str | None = None,
        overwrite: bool = True,
    ) -> int:
        """Copy a directory with all that is in it from this machine to below the base path.

        Args:
            local_path: By default the directory that this process is in.
            to_path: Below the base path; by default the base path itself.
            ignore_file: Refused: nothing is left out.
            overwrite: Whether files that are there already are replaced; else they stay.

        Returns:
            How many files were copied.

        Raises:
            ValueError: It is outside of the base path, or is no directory.
            NotSupported: There is an `ignore_file`.
        """
        return dispatched(partial(self._put, local_path, to_path, ignore_file, overwrite))

    async def aput_directory(
        self,
        local_path: str | None = None,
        to_path: str | None = None,
        ignore_file: str | None = None,
        overwrite: bool = True,
    ) -> int:
        """Copy like `put_directory`, without blocking the event loop."""
        return await asyncio.to_thread(self._put, local_path, to_path, ignore_file, overwrite)

    def as_storage(self) -> Storage:
        """Return what keeps results there.

        Raises:
            ConfigurationError: What speaks to object storage is not installed.
        """
        if find_spec("obstore") is None:
            raise ConfigurationError(
                f"'{self.basepath}' is object storage, which needs obstore: pip install 'taskyard[objects]'"
            )
        return ObjectStorage(self.basepath, self._config())

    def _config(self) -> tuple[tuple[str, str], ...]:
        said = {**self.settings, **(self.settings.get("client_kwargs") or {})}
        said.pop("client_kwargs", None)
        return tuple(sorted((_OTHER_NAMES.get(name, name), _text(value)) for name, value in said.items()))

    def _objects(self) -> Any:
        self.as_storage()
        return object_store(self.basepath, os.getpid(), self._config())

    def _resolve_path(self, path: str | None) -> str:
        """Return the name of an object below the base path."""
        base, inside = urlsplit(self.basepath), path or ""
        if "://" in inside:
            scheme, _, rest = inside.partition("://")
            if scheme != base.scheme:
                raise ValueError(
                    f"Path {path!r} with scheme {scheme!r} must use the same scheme as the base path"
                    f" {base.scheme!r}."
                )
            root = f"{base.netloc}{base.path}".rstrip("/")
            if rest != root and not rest.startswith(f"{root}/"):
                raise ValueError(f"Path {path!r} is outside of the base path {self.basepath!r}.")
            inside = rest.removeprefix(root)
        if ".." in inside.split("/"):
            raise ValueError(f"Path {path!r} is outside of the base path {self.basepath!r}.")
        return inside.strip("/")

    def _url(self, key: str) -> str:
        return f"{self.basepath.rstrip('/')}/{key}"

    def _read(self, path: str) -> bytes:
        key = self._resolve_path(path)
        try:
            return bytes(self._objects().get(key).bytes())
        except Exception as error:  # of a library that may not be there
            if isinstance(error, FileNotFoundError) or type(error).__name__ == "NotFoundError":
                raise FileNotFoundError(f"there is nothing at {self._url(key)}") from error
            raise

    def _write(self, path: str, content: bytes) -> str:
        key = self._resolve_path(path)
        if not key:
            raise ValueError(f"Path {path!r} names no file below {self.basepath!r}.")
        self._objects().put(key, content)
        return self._url(key)

    def _get(self, from_path: str | None, local_path: str | None) -> None:
        store, start = self._objects(), self._resolve_path(from_path)
        to = Path(local_path or ".").expanduser().resolve()
        for page in store.list(prefix=start or None):
            for entry in page:
                name = str(entry["path"]).removeprefix(f"{start}/" if start else "")
                target = (to / name).resolve()
                if to not in target.parents:
                    raise ValueError(f"{self._url(str(entry['path']))} would be written outside of {to}.")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(bytes(store.get(entry["path"]).bytes()))

    def _put(
        self, local_path: str | None, to_path: str | None, ignore_file: str | None, overwrite: bool
    ) -> int:
        refuse_ignoring(ignore_file)
        start, here = self._resolve_path(to_path), Path(local_path or ".").expanduser().resolve()
        if not here.is_dir():
            raise ValueError(f"Path {here} is not a directory.")
        store, count = self._objects(), 0
        for file in sorted(here.rglob("*")):
            if not file.is_file():
                continue
            key = "/".join(filter(None, [start, file.relative_to(here).as_posix()]))
            try:
                store.put(key, file.read_bytes(), mode="overwrite" if overwrite else "create")
            except Exception as error:  # as above
                if overwrite or type(error).__name__ != "AlreadyExistsError":
                    raise
                continue
            count += 1
        return count
