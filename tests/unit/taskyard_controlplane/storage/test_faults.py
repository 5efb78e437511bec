"""Which of our errors a driver's error means."""

import sqlite3

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError

from taskyard_contract.errors import StorageFull, StorageUnavailable
from taskyard_controlplane.storage.faults import translate


def _error(code: int, kind: type[sqlite3.Error] = sqlite3.OperationalError) -> sqlite3.Error:
    error = kind("what SQLite says")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    "code",
    [
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_READONLY_DBMOVED,
        sqlite3.SQLITE_IOERR_SHMSIZE,
    ],
)
def test_no_room_and_read_only_are_full(code: int) -> None:
    found = translate(_error(code), "sqlite:///x.db")
    assert isinstance(found, StorageFull)
    assert "sqlite:///x.db has no room" in str(found)
    assert found.retry_after > 0


@pytest.mark.parametrize(
    "code", [sqlite3.SQLITE_BUSY, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_CORRUPT]
)
def test_everything_else_a_database_says_is_unavailable(code: int) -> None:
    """A failed sync above all: nobody knows whether that commit happened."""
    found = translate(_error(code, sqlite3.DatabaseError), "x")
    assert type(found) is StorageUnavailable


def test_errors_are_found_inside_those_of_sqlalchemy() -> None:
    wrapped = OperationalError("INSERT", (), _error(sqlite3.SQLITE_FULL))
    assert isinstance(translate(wrapped, "x"), StorageFull)


def test_mistakes_of_the_caller_are_not_the_databases() -> None:
    wrong = _error(sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.IntegrityError)
    assert translate(wrong, "x") is None
    assert translate(IntegrityError("INSERT", (), wrong), "x") is None
    assert translate(ValueError("x"), "x") is None
