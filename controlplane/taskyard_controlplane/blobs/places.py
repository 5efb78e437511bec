"""URLs of stores: what they mean, and where a store is when nobody says.

Light, and pure: the command line imports it.
"""

from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

OBJECTS: Final = ("s3", "gs", "az")
"""Schemes of object storage."""
MEMORY: Final = "memory:"
ADVICE: Final = (
    "give a directory (a path, or file:///PATH), s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, "
    "az://CONTAINER/PREFIX or memory:"
)


class Kind(Enum):
    """What keeps the bytes."""

    DIRECTORY = "directory"
    OBJECTS = "objects"
    MEMORY = "memory"


class Place(NamedTuple):
    """Where a store is."""

    kind: Kind
    url: str
    """Without credentials: there is no place for them in it."""
    path: Path | None = None
    """Of a directory, absolute."""


def parse_place(url: str) -> Place:
    """Understand the URL of a store.

    Raises:
        ValueError: It is none. The message does not repeat what could be a secret.
    """
    if url in (MEMORY, "memory://"):
        return Place(Kind.MEMORY, MEMORY)
    scheme, separator, rest = url.partition("://")
    if not separator:
        if not url or ":" in url.partition("/")[0]:
            raise ValueError(f"this is no place for blobs; {ADVICE}")
        return directory(Path(url).expanduser())
    if scheme == "file":
        if not rest.startswith("/"):
            raise ValueError(f"a file: URL of a place for blobs names a host; {ADVICE}")
        return directory(Path(unquote(rest)))
    if scheme not in OBJECTS:
        raise ValueError(f"places for blobs like '{scheme[:16]}://' are not supported; {ADVICE}")
    return _objects(url)


def check_endpoint(url: str) -> None:
    """Check where object storage is to be reached; nothing means: where its provider is.

    Raises:
        ValueError: That is no place. The message does not repeat what could be a secret.
    """
    parts = urlsplit(url)
    known = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    if url and (not known or parts.query or parts.fragment):
        raise ValueError(
            "the endpoint of object storage is no address; give http://HOST:PORT or https://HOST"
        )


def directory(path: Path) -> Place:
    """Return the place that is a directory."""
    path = path.absolute()
    return Place(Kind.DIRECTORY, str(path), path)


def _objects(url: str) -> Place:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(f"this is no place for blobs; {ADVICE}") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(
            "a place for blobs has no credentials or parameters in its URL, where others could read them; "
            "set them in the environment, as AWS_ACCESS_KEY_ID for example"
        )
    if not parts.netloc or ".." in parts.path.split("/"):
        raise ValueError(f"this place for blobs names no bucket, or goes up in it; {ADVICE}")
    return Place(Kind.OBJECTS, f"{parts.scheme}://{parts.netloc}/{parts.path.strip('/')}".rstrip("/"))
