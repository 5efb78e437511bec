"""Cold documents: small records that people make and change, apart from the log of runs.

Deployments, schedules, limits, variables, blocks, namespaces and tokens are few, small and seldom written,
and each is read and changed as a whole. They need none of what makes the log of runs fast, and each as a
table of its own would touch seven places; so they share one table of (kind, name) to body, in an encoding
that belongs to whoever keeps that kind.

Everybody may read. Changes are made by the owner alone, between two commits of the log, in transactions
that check its generation like any commit. They are conditional: whoever changes a document says which
version he has seen, so nobody overwrites what he does not know.

Versions are opaque and grow, also from a document to its successor of the same name: the first is the time
of its making in microseconds, each change adds at least one. Were it a count from 1, somebody who had read
version 1 could overwrite the successor of a deleted document, which has a version 1 as well.

A change whose commit was lost on the way back (`StorageUnavailable`) can be repeated as it is: what is stored
already counts as done.
"""

from typing import Final, NamedTuple, Protocol

from taskyard_contract.errors import InvalidRequest
from taskyard_contract.errors import VersionConflict as VersionConflict

MAX_NAME_BYTES: Final = 1_000
"""PostgreSQL refuses index entries above 2,700 bytes."""
MAX_BODY_BYTES: Final = 1024 * 1024
"""Larger things are blobs: documents are read and written whole, and listed in pages."""
MAX_PAGE: Final = 1_000
"""Documents of one answer at most; with bodies at their limit that is 1 GB, and real ones are a few KB."""

NEW: Final = 0
"""The version of a document that must not exist yet."""


class Document(NamedTuple):
    """One document in one of its versions; whoever keeps its kind knows what `body` says."""

    kind: str
    name: str
    version: int
    updated_us: int
    body: bytes


class DocumentReader(Protocol):
    """Reads documents. Every method blocks, and may raise `StorageUnavailable`."""

    def get(self, kind: str, name: str) -> Document | None:
        """Return a document, None when there is none."""
        ...

    def page(self, kind: str, prefix: str = "", after: str = "", limit: int = MAX_PAGE) -> list[Document]:
        """Return the documents of a kind whose names begin with `prefix`, in the order of their code points.

        Args:
            kind: What they are.
            prefix: How their names begin.
            after: The last name of the page before.
            limit: Most documents to return.
        """
        ...


class Documents(DocumentReader, Protocol):
    """Changes documents as the owner. Like a `Store`: not thread-safe, and raises what a store raises."""

    def put(self, kind: str, name: str, version: int, body: bytes, now_us: int) -> Document:
        """Store a document if the one there is has this version, `NEW` for none; returns it as stored.

        Raises:
            VersionConflict: It has another version.
            InvalidRequest: The name or the body cannot be stored.
        """
        ...

    def delete(self, kind: str, name: str, version: int) -> None:
        """Delete a document if it has this version. One that does not exist is as good as deleted.

        Raises:
            VersionConflict: It has another version.
        """
        ...


def check_document(kind: str, name: str, body: bytes) -> None:
    """Check that a document can be stored, in both databases, and be found again by its prefix.

    Raises:
        InvalidRequest: It cannot; the message says why.
    """
    for field, text in (("kind", kind), ("name", name)):
        if not text:
            raise InvalidRequest(f"the {field} of a document is empty")
        if not can_be_stored(text):
            raise InvalidRequest(f"the {field} {text!r} of a document has a character that cannot be stored")
        if len(text.encode()) > MAX_NAME_BYTES:
            raise InvalidRequest(
                f"the {field} of a document has more than {MAX_NAME_BYTES} bytes", limit=MAX_NAME_BYTES
            )
    if len(body) > MAX_BODY_BYTES:
        raise InvalidRequest(
            f"document '{name}' has {len(body)} bytes, at most {MAX_BODY_BYTES} are stored",
            limit=MAX_BODY_BYTES,
        )


def can_be_stored(text: str) -> bool:
    """Whether a text can be part of a name: no NUL, no lone surrogate, no end of all prefixes (U+10FFFF)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text and "\U0010ffff" not in text
