"""Keys for values, and digests of text and files."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from taskyard._data.values.hashing import hash_objects
from taskyard._missing_features import absent_names

__all__ = ["file_hash", "hash_objects", "stable_hash"]

_PIECE: Final = 1 << 20


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)


def stable_hash(*args: str | bytes, hash_algo: Callable[[], Any] = _md5) -> str:
    """Return a digest of some texts, one after the other; equal in all processes.

    Args:
        *args: Texts, which count as UTF-8, or bytes.
        hash_algo: Makes what computes it, for example `hashlib.sha256`.

    Returns:
        Hexadecimal digits.
    """
    digest = hash_algo()
    for part in args:
        digest.update(part.encode() if isinstance(part, str) else part)
    return str(digest.hexdigest())


def file_hash(path: str | Path, hash_algo: Callable[[], Any] = _md5) -> str:
    """Return a digest of what is in a file, read piece by piece.

    Args:
        path: The file.
        hash_algo: Makes what computes it, for example `hashlib.sha256`.

    Returns:
        Hexadecimal digits.

    Raises:
        OSError: The file cannot be read.
    """
    digest = hash_algo()
    with Path(path).open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return str(digest.hexdigest())


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
