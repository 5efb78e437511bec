"""A log of everything that was committed, kept by triggers in the database under test.

A trigger writes in the transaction of the row that it tells of. So its log has what was committed, in the
order of the commits, and nothing else: an end that replaces another one is in it as well, and a dispatch that
has long been forgotten. The control plane knows nothing of it.
"""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from typing import Any, Final, NamedTuple

import psycopg

from taskyard_controlplane.storage.engine import parse_url, writer_engine
from taskyard_controlplane.storage.upgrade import prepare_schema

_COLUMNS: Final = "run_seq, epoch, state, reason, attempt, infra_retries, session_id, entries, agent_id"
_TABLE: Final = (
    "CREATE TABLE storm_log (id {key}, at {real}, kind TEXT, run_seq BIGINT, epoch BIGINT, state INT,"
    " reason INT, attempt INT, infra_retries INT, session_id {bytes}, entries {bytes}, agent_id TEXT)"
)
_RUN: Final = "NEW.seq, NEW.epoch, NEW.state, NEW.reason, NEW.attempt, NEW.infra_retries, NULL, NULL, NULL"
_EVENT: Final = (
    "NEW.run_seq, NEW.epoch, NEW.state, NEW.reason, NEW.attempt, NEW.infra_retries, NULL, NULL, NULL"
)
_DISPATCH: Final = "NULL, NULL, NULL, NULL, NULL, NULL, NEW.session_id, NEW.entries, NEW.agent_id"
_WATCHED: Final = (
    ("inserted", "INSERT", "run", "", _RUN),
    ("recorded", "INSERT", "run", "NEW.state >= 100", _RUN),
    ("recorded", "UPDATE", "run", "NEW.state >= 100", _RUN),
    ("event", "INSERT", "run_event", "", _EVENT),
    ("dispatched", "INSERT", "dispatch", "", _DISPATCH),
)
"""Kind, what triggers it, where, when, and what is written down."""


class Committed(NamedTuple):
    """Something that was committed."""

    at: float
    kind: str
    run_seq: int | None
    epoch: int | None
    state: int | None
    reason: int | None
    attempt: int | None
    infra_retries: int | None
    session_id: bytes | None
    entries: bytes | None
    agent_id: str | None


READ: Final = f"SELECT at, kind, {_COLUMNS} FROM storm_log ORDER BY id"


def install(url: str) -> None:
    """Make the log in a database. An SQLite database is empty, and gets the control plane's tables first."""
    if url.startswith("sqlite"):
        _prepare(url)
        execute(url, _sqlite())
    else:
        execute(url, _postgresql())


def execute(url: str, statements: Iterable[str]) -> None:
    """Execute statements in a database that no control plane has."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as lite:
            for statement in statements:
                lite.execute(statement)
        return
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as postgres:
        for statement in statements:
            postgres.execute(statement)


def _prepare(url: str) -> None:
    engine = writer_engine(parse_url(url))
    with engine.begin() as connection:
        prepare_schema(connection, url)
    engine.dispose()


def _sqlite() -> list[str]:
    now = "(julianday('now') - 2440587.5) * 86400.0"
    statements = [_TABLE.format(key="INTEGER PRIMARY KEY", real="REAL", bytes="BLOB")]
    for number, (kind, what, table, when, values) in enumerate(_WATCHED):
        condition = f" WHEN {when}" if when else ""
        statements.append(
            f"CREATE TRIGGER storm_{number} AFTER {what} ON {table}{condition} BEGIN "
            f"INSERT INTO storm_log (at, kind, {_COLUMNS}) VALUES ({now}, '{kind}', {values}); END"
        )
    return statements


def _postgresql() -> list[str]:
    now = "extract(epoch FROM clock_timestamp())"
    statements = [_TABLE.format(key="BIGSERIAL PRIMARY KEY", real="DOUBLE PRECISION", bytes="BYTEA")]
    for number, (kind, what, table, when, values) in enumerate(_WATCHED):
        condition = f" WHEN ({when})" if when else ""
        statements.append(
            f"CREATE FUNCTION storm_{number}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"INSERT INTO storm_log (at, kind, {_COLUMNS}) VALUES ({now}, '{kind}', {values}); "
            "RETURN NEW; END $$"
        )
        statements.append(
            f"CREATE TRIGGER storm_{number} AFTER {what} ON {table} FOR EACH ROW{condition} "
            f"EXECUTE FUNCTION storm_{number}()"
        )
    return statements


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Read from a database whose control plane has ended."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(f"file:{url.removeprefix('sqlite:///')}?mode=ro", uri=True)) as lite:
            return lite.execute(statement).fetchall()
    with psycopg.connect(url.replace("+psycopg", "")) as postgres:
        return postgres.execute(statement).fetchall()


def committed(url: str) -> list[Committed]:
    """Return everything that was committed, in order."""
    return [Committed(*row) for row in query(url, READ)]
