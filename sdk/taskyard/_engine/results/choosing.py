"""Which storage the option `result_storage` means.

Options hold text or objects of the user's, never the classes of this room: they travel in pickles.
"""

import os
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from taskyard._engine.results.saved_blocks import BlockStorage, has_paths, is_block
from taskyard._engine.results.storages import DirectoryStorage, ObjectStorage, OwnStorage, Storage
from taskyard.exceptions import ConfigurationError

_BLOCK: Final = re.compile(r"[a-z0-9][a-z0-9_-]*/[^/]+")
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]+://")
OBJECT_SCHEMES: Final = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "https", "http")


def checked_storage(given: Any, *, travels: bool = True) -> Any:
    """Return a storage as options keep it: an absolute path, a URL, "type/name" of a block, or an object.

    Args:
        given: What the option says.
        travels: Whether other processes have to find it, so that a block has to be saved.

    Raises:
        TypeError: It cannot be a storage, or is a block that is not saved.
        ConfigurationError: It needs what is not installed.
    """
    if given is None:
        return None
    if isinstance(given, (str, os.PathLike)):
        return _text(os.fspath(given), isinstance(given, os.PathLike))
    if not isinstance(given, type) and has_paths(given):
        return _saved(given) if travels and is_block(given) else given
    raise TypeError(
        "'result_storage' must be a path, a URL such as 's3://bucket/prefix', a saved block, or an object"
        f" with read_path and write_path, got {given!r}"
    )


def _saved(block: Any) -> str:
    """Return the "type/name" of a block, which is all that travels of it.

    Raises:
        TypeError: It is not saved.
    """
    name: str | None = block.saved_as()
    if name is None:
        raise TypeError(
            "Result storage configuration must be persisted server-side. Please call `.save()` on your"
            f" {type(block).__name__} block before passing it in: workers load it by its name"
        )
    return name


def _text(given: Any, is_path: bool) -> str:
    if not isinstance(given, str) or not given:
        raise TypeError(f"'result_storage' must be a path or a URL in text, got {given!r}")
    if is_path or not _URL.match(given):
        if not is_path and _BLOCK.fullmatch(given):
            return given  # resolved where results are: the block may be saved later
        return os.path.abspath(os.path.expanduser(given))
    parts = urlsplit(given)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise ConfigurationError(f"'{given}' names another machine; write file:///PATH")
        return os.path.abspath(unquote(parts.path))
    if parts.scheme not in OBJECT_SCHEMES:
        raise ConfigurationError(
            f"'{given}' has the scheme '{parts.scheme}', which is no storage; known are file, "
            f"{', '.join(OBJECT_SCHEMES)}"
        )
    if find_spec("obstore") is None:
        raise ConfigurationError(
            f"'{given}' is object storage, which needs obstore: pip install 'taskyard[objects]'"
        )
    return given


def storage_of(given: Any) -> Storage:
    """Return the storage that an option means, as `checked_storage` has returned it."""
    return _of_text(given) if isinstance(given, str) else OwnStorage(given)


@cache
def _of_text(given: str) -> Storage:
    if _URL.match(given):
        return ObjectStorage(given)
    return DirectoryStorage(given) if os.path.isabs(given) else BlockStorage(given)


def local_storage(path: "str | Path") -> Storage:
    """Return a directory as a storage."""
    return DirectoryStorage(os.path.abspath(os.path.expanduser(path)))
