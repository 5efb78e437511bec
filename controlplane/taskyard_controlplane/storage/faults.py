"""Turns what database drivers raise into the errors a store may raise.

The errors go to whoever called, near or far, so they do not say which database it is or what its driver said:
that is in the log, under a reference that the error names.

Invariant: `StorageFull` and `RowsRefused` are only raised for failures after which nothing of the transaction
is stored.
"""

import logging
import secrets
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from time import monotonic
from typing import Final

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, ResourceClosedError

from taskyard_contract.errors import StorageFull, StorageUnavailable, TaskyardError
from taskyard_controlplane.storage.engine import Target, writer_engine
from taskyard_controlplane.storage.errors import RowsRefused

# SQLite reports a full disk as SQLITE_FULL, and a file system that went read-only, as they do when they are
# broken or over quota, as SQLITE_READONLY. On a full disk the index of the log may be the first that cannot
# grow. None of them can happen after the commit record is written.
_FULL: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR_SHMSIZE})
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# Mistakes of the caller, not moods of the database; those about rows are told apart before.
_OURS: Final = frozenset({"ProgrammingError", "NotSupportedError"})
_POSTGRES_FULL: Final = "53100"
_POSTGRES_DAMAGED: Final = frozenset({"XX001", "XX002"})
_FROM_PYTHON: Final = (OverflowError, UnicodeError, struct.error)
"""What drivers raise before they send anything: numbers and texts that no column holds."""
_CLASSES: Final = frozenset(
    {
        ("sqlite3", "DataError"),
        ("sqlite3", "IntegrityError"),
        ("psycopg", "DataError"),
        ("psycopg", "IntegrityError"),
    }
)
_BINDING: Final = "Error binding parameter"  # which sqlite3 says by classes that mean other things, too
_SQLSTATES: Final = ("22", "23", "54")
"""Data exceptions, constraints, and limits of the program, such as the length of a key in an index."""


SAME_TROUBLE_SECONDS: Final = 60.0
"""For so long the same words of a driver are the same trouble: under one reference, and in the log once.
While a database is away every call fails, and each would write a line."""

_log = logging.getLogger(__name__)


def speaks_of_rows(error: BaseException) -> bool:
    """Whether what a driver raised is about what was to be written."""
    cause: BaseException | None = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, _FROM_PYTHON):
        return True
    if any((kind.__module__, kind.__name__) in _CLASSES for kind in type(cause).__mro__):
        return True
    if str(getattr(cause, "sqlstate", None) or "").startswith(_SQLSTATES):
        return True
    return type(cause).__module__ == "sqlite3" and str(cause).startswith(_BINDING)


def translate(error: BaseException, target: Target) -> TaskyardError | None:
    """Say which error of ours a driver's error means; the log has what the error does not tell.

    Args:
        error: What was raised, by SQLAlchemy or by a driver.
        target: The database.

    Returns:
        None when the error is none of the database's doing.
    """
    if isinstance(error, ResourceClosedError):
        return StorageUnavailable("the connection to the database is closed; repeat", retry_after=1.0)
    if speaks_of_rows(error):
        return RowsRefused("a value does not fit into the database; nothing was written")
    cause: BaseException | None = error.orig if isinstance(error, DBAPIError) else error
    if not _from_driver(cause):
        return None
    if _is_full(cause):
        reference = _noted("has no room, or is read-only", target, cause)
        return StorageFull(
            f"the database has no room, or is read-only [{reference}]; "
            "nothing was written: make room, then repeat",
            retry_after=5.0,
        )
    if _is_damaged(cause):
        reference = _noted("is damaged", target, cause)
        return StorageUnavailable(
            f"the database is damaged [{reference}]; restore it from a backup", retry_after=60.0
        )
    reference = _noted("does not answer", target, cause)
    return StorageUnavailable(f"the database does not answer [{reference}]; repeat", retry_after=1.0)


def _noted(what: str, target: Target, cause: BaseException | None) -> str:
    """Have the log say what happened, and return the reference under which it does."""
    said = target.secrets().hide(_text(cause))
    return _reference(f"the database {target} {what}: {said}", int(monotonic() / SAME_TROUBLE_SECONDS))


@lru_cache(maxsize=64)
def _reference(text: str, _when: int) -> str:
    reference = secrets.token_hex(4)
    _log.error("%s [%s]", text, reference, extra={"event": "storage_trouble"})
    return reference


def _from_driver(error: BaseException | None) -> bool:
    """Whether a database reported it; told by the classes' names, to leave psycopg unimported."""
    names = {(kind.__module__, kind.__name__) for kind in type(error).__mro__}
    if not names & {("sqlite3", "Error"), ("psycopg", "Error")}:
        return False
    return not any(name in _OURS for _, name in names)


def _is_full(error: BaseException | None) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return code in _FULL or code & 0xFF in _FULL
    return getattr(error, "sqlstate", None) == _POSTGRES_FULL


def _is_damaged(error: BaseException | None) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _DAMAGED
    return getattr(error, "sqlstate", None) in _POSTGRES_DAMAGED


def _text(error: BaseException | None) -> str:
    return " ".join(str(error).split()) or type(error).__name__


class Connected:
    """Has a connection at a time, and throws it away when it failed: the next call makes a new one."""

    def __init__(self, target: Target) -> None:
        """Name the database; nothing is opened yet."""
        self._target = target
        self._engine = writer_engine(target)
        self._connection: Connection | None = None

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn a driver's errors into ours, and drop the connection unless it is known to be sound."""
        try:
            yield
        except Exception as error:
            known = translate(error, self._target)
            if known is None:
                raise
            if not isinstance(known, (StorageFull, RowsRefused)):
                self._disconnect()
            raise known from error
