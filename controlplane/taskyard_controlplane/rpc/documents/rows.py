"""How documents of programs are stored: under which kind and name, and what is in the bytes of a row.

Their kinds are apart from those that the control plane keeps for itself, and their names begin with a
namespace: so no program writes what is not its own, and namespaces will need no migration.
"""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from taskyard_contract.errors import TaskyardError
from taskyard_controlplane.domain.namespaces import DEFAULT
from taskyard_controlplane.storage.interface import Document, DocumentReader

CHANGE_ID_BYTES: Final = 16
_HEAD: Final = struct.Struct(f">B{CHANGE_ID_BYTES}sI")
_VERSION: Final = 1
_BATCH: Final = 16
"""Rows read at a time: each may be large, and a page may be full after one of them."""


class Place(NamedTuple):
    """Where a document is stored."""

    kind: str
    name: str

    def __str__(self) -> str:
        """Name it as what a secret is bound to; a name may have any character, a kind not this one."""
        return f"{self.kind}\n{self.name}"


def place_of(namespace: str, kind: str, name: str) -> Place:
    """Return where a document of a program is stored."""
    return Place(f"document:{kind}", f"{namespace or DEFAULT}/{name}")


class Content(NamedTuple):
    """What is in the bytes of a row."""

    change_id: bytes
    sealed: bytes
    body: bytes

    def packed(self) -> bytes:
        """Return it as it is stored."""
        return _HEAD.pack(_VERSION, self.change_id, len(self.sealed)) + self.sealed + self.body


def content_of(row: Document) -> Content:
    """Take a row apart.

    Raises:
        TaskyardError: It was written by a newer release.
    """
    version, change_id, sealed = _HEAD.unpack_from(row.body)
    if version != _VERSION:
        raise TaskyardError(f"'{row.name}' was stored by a newer release; update this server")
    rest = row.body[_HEAD.size :]
    return Content(change_id, rest[:sealed], rest[sealed:])


def rows_after(reader: DocumentReader, prefix: Place, after: str) -> Iterator[Document]:
    """Yield the documents whose names begin with a prefix, from behind a name on. Blocks."""
    while True:
        rows = reader.page(prefix.kind, prefix.name, after, _BATCH)
        yield from rows
        if len(rows) < _BATCH:
            return
        after = rows[-1].name
