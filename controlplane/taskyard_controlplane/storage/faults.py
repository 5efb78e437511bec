"""Turns what database drivers raise into the three errors a store may raise.

Invariant: `StorageFull` is only raised for failures after which nothing of the transaction is stored.
"""

import sqlite3
from typing import Final

from sqlalchemy.exc import DBAPIError, ResourceClosedError

from taskyard_contract.errors import StorageFull, StorageUnavailable, TaskyardError

# SQLite reports a full disk as SQLITE_FULL, and a file system that went read-only, as they do when they are
# broken or over quota, as SQLITE_READONLY. On a full disk the index of the log may be the first that cannot
# grow. None of them can happen after the commit record is written.
_FULL: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR_SHMSIZE})
# Integrity and data errors are mistakes of the caller, not moods of the database.
_OURS: Final = frozenset({"IntegrityError", "DataError", "ProgrammingError", "NotSupportedError"})
_POSTGRES_FULL: Final = "53100"


def translate(error: BaseException, where: str) -> TaskyardError | None:
    """Say which error of ours a driver's error means.

    Args:
        error: What was raised, by SQLAlchemy or by a driver.
        where: The database, as its URL without password.

    Returns:
        None when the error is none of the database's doing.
    """
    if isinstance(error, ResourceClosedError):
        return StorageUnavailable(f"the connection to {where} is closed; repeat", retry_after=1.0)
    cause: BaseException | None = error.orig if isinstance(error, DBAPIError) else error
    if not _from_driver(cause):
        return None
    if _is_full(cause):
        return StorageFull(
            f"the database {where} has no room, or is read-only ({_text(cause)}); "
            "nothing was written: make room, then repeat",
            retry_after=5.0,
        )
    return StorageUnavailable(f"the database {where} does not answer: {_text(cause)}", retry_after=1.0)


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


def _text(error: BaseException | None) -> str:
    return " ".join(str(error).split()) or type(error).__name__
