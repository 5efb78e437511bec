"""Which of our errors a driver's error means."""

import sqlite3

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError

from taskyard_contract.errors import StorageFull, StorageUnavailable
from taskyard_controlplane.storage.engine import parse_url, writer_engine
from taskyard_controlplane.storage.faults import translate
from taskyard_controlplane.storage.interface import RowsRefused

HERE = parse_url("postgresql://me:s3cret@host/db?password=s3cret")


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
    found = translate(_error(code), HERE)
    assert isinstance(found, StorageFull)
    assert "has no room" in str(found)
    assert found.retry_after > 0


@pytest.mark.parametrize(
    "code", [sqlite3.SQLITE_BUSY, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_LOCKED]
)
def test_everything_else_a_database_says_is_unavailable(code: int) -> None:
    """A failed sync above all: nobody knows whether that commit happened."""
    found = translate(_error(code, sqlite3.DatabaseError), HERE)
    assert type(found) is StorageUnavailable


@pytest.mark.parametrize(
    "code", [sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT | 1 << 8]
)
def test_of_a_damaged_database_it_is_said_what_helps(code: int) -> None:
    found = translate(_error(code, sqlite3.DatabaseError), HERE)
    assert type(found) is StorageUnavailable
    assert "the database is damaged" in str(found)
    assert str(found).endswith("restore it from a backup")


def test_errors_are_found_inside_those_of_sqlalchemy() -> None:
    wrapped = OperationalError("INSERT", (), _error(sqlite3.SQLITE_FULL))
    assert isinstance(translate(wrapped, HERE), StorageFull)


def test_mistakes_of_the_caller_are_not_the_databases() -> None:
    wrong = _error(sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.IntegrityError)
    assert isinstance(translate(wrong, HERE), RowsRefused)
    assert isinstance(translate(IntegrityError("INSERT", (), wrong), HERE), RowsRefused)
    assert translate(sqlite3.ProgrammingError("Cannot operate on a closed database."), HERE) is None
    assert translate(ValueError("x"), HERE) is None


def test_callers_get_a_reference_and_the_log_has_the_rest_once(caplog: pytest.LogCaptureFixture) -> None:
    error = sqlite3.OperationalError("no route with s3cret to test_callers")
    error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
    texts = {str(translate(error, HERE)) for _ in range(100)}
    assert all(word not in text for text in texts for word in ("host", "db?", "s3cret", "route"))
    assert len(texts) <= 2  # two when a minute ended meanwhile
    assert [text[text.index("[") :].split(";")[0] in caplog.text for text in texts] == [True] * len(texts)
    assert len(caplog.records) == len(texts)
    assert "***@host/db?password=*** does not answer: no route with *** to test_callers" in caplog.text
    assert "s3cret" not in caplog.text


def test_errors_that_are_logged_do_not_hold_what_was_written() -> None:
    with writer_engine(parse_url("sqlite://?name=hidden")).connect() as connection:
        with pytest.raises(OperationalError) as caught:
            connection.exec_driver_sql("INSERT INTO nowhere VALUES (?)", ("s3cret",))
        connection.rollback()
    assert "s3cret" not in str(caught.value)
