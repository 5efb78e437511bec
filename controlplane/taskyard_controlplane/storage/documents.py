"""Cold documents, the same SQL for both databases: nothing about them is hot."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, update

from taskyard_controlplane.storage.interface.documents import (
    MAX_PAGE,
    NEW,
    Document,
    VersionConflict,
    can_be_stored,
    check_document,
)
from taskyard_controlplane.storage.schema import document

_COLUMNS: Final = [document.c[name] for name in Document._fields]
_BEHIND_ALL: Final = "\U0010ffff"  # no name has this character, so what begins with a prefix sorts before it

Connected = Callable[[], AbstractContextManager[Connection]]
"""Hands out a connection; a store's turns the driver's errors into ours, and commits at the end."""


class StoredDocuments:
    """What a store and a reader do alike with documents: find one, list them by name."""

    def __init__(self, reading: Connected) -> None:
        """Read through the connections of `reading`."""
        self._reading = reading

    def get(self, kind: str, name: str) -> Document | None:
        if not can_be_stored(name):
            return None
        with self._reading() as connection:
            return _find(connection, kind, name)

    def page(self, kind: str, prefix: str = "", after: str = "", limit: int = MAX_PAGE) -> list[Document]:
        """Return documents of a kind whose names begin with `prefix`, in the order of their code points."""
        if not can_be_stored(prefix + after):
            return []
        query = (
            select(*_COLUMNS)
            .where(document.c.kind == kind, document.c.name > after)
            .where(document.c.name >= prefix, document.c.name < prefix + _BEHIND_ALL)
            .order_by(document.c.name)
            .limit(min(limit, MAX_PAGE))
        )
        with self._reading() as connection:
            return [Document._make(row) for row in connection.execute(query)]


class OwnedDocuments(StoredDocuments):
    """Changes documents, each in a transaction that has checked that this is still the owner.

    There is one writer, and the version is read in the transaction that changes it, so nothing can come
    between.
    """

    def __init__(self, reading: Connected, owning: Connected) -> None:
        """Read through the connections of `reading`, write in the transactions of `owning`."""
        super().__init__(reading)
        self._owning = owning

    def put(self, kind: str, name: str, version: int, body: bytes, now_us: int) -> Document:
        check_document(kind, name, body)
        with self._owning() as connection:
            found = _find(connection, kind, name)
            stored = Document(kind, name, max(version + 1, now_us), now_us, body)
            if found == stored:
                return stored  # the same change, repeated because nobody heard that it had succeeded
            _check_version(found, kind, name, version)
            if found is None:
                connection.execute(insert(document).values(stored._asdict()))
            else:
                connection.execute(update(document).where(_is(kind, name)).values(stored._asdict()))
        return stored

    def delete(self, kind: str, name: str, version: int) -> None:
        if not can_be_stored(name):
            return  # there is none; a driver would not say so in a way that others understand
        with self._owning() as connection:
            found = _find(connection, kind, name)
            if found is not None:
                _check_version(found, kind, name, version)
                connection.execute(delete(document).where(_is(kind, name)))


def _find(connection: Connection, kind: str, name: str) -> Document | None:
    row = connection.execute(select(*_COLUMNS).where(_is(kind, name))).one_or_none()
    return None if row is None else Document._make(row)


def _is(kind: str, name: str) -> ColumnElement[bool]:
    return and_(document.c.kind == kind, document.c.name == name)


def _check_version(found: Document | None, kind: str, name: str, version: int) -> None:
    actual = NEW if found is None else found.version
    if actual != version:
        there = f"is in version {actual}" if found is not None else "does not exist"
        wanted = f"version {version}" if version != NEW else "a new one"
        raise VersionConflict(
            f"the {kind} '{name}' {there}, the change was made for {wanted}; read it again, then decide"
        )
