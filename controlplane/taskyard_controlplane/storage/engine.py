"""Database URLs, and connections with the settings that durability and speed rest on.

Invariant: on SQLite every connection that may write or checkpoint comes from `writer_engine`, and a store
holds exactly one of them: releases before 3.51.3 can corrupt the log when two connections do either.
"""

import os
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from shutil import disk_usage
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool, QueuePool

from taskyard_contract.errors import StorageUnavailable
from taskyard_controlplane.storage.shown_urls import Secrets, shown_url

BEGIN: Final = "BEGIN IMMEDIATE"
"""How a transaction begins on SQLite: with the lock, which one that writes could be refused later."""
LOG_SUFFIX: Final = "-wal"
"""SQLite's own name for the write-ahead log beside a database."""
BUSY_SECONDS: Final = 5.0  # for how long another program, a backup say, may hold the file
_READERS: Final = 4
"""More than there are threads that read; the rest is for those that ask at the same moment."""
_OLDEST_SQLITE: Final = (3, 36, 0)  # UPDATE FROM is in 3.33, memory shared by connections in 3.36
_HOST: Final = re.compile(r"[A-Za-z0-9._:%,-]*")
_ADVICE: Final = "use sqlite:///PATH, sqlite:// or postgresql+psycopg://USER@HOST/DATABASE"

CACHED_STATEMENTS: Final = 256  # of each connection: those that write have up to eight sizes of some dozens
LOG_BYTES: Final = 16 * 1024 * 1024  # what a few seconds of load write, and a laptop can spare
_CACHE: Final = "cache_size = -16384"  # 16 MB: with 64, a million runs were written no faster

# For connections that write. The first two count only when the file is made. Checkpoints are asked for
# explicitly, and the log keeps its size: a commit that does not change a file's length syncs twice as fast.
_WRITER_PRAGMAS: Final = (
    "page_size = 4096",
    "auto_vacuum = INCREMENTAL",
    "journal_mode = WAL",
    "synchronous = FULL",
    "wal_autocheckpoint = 0",
    "journal_size_limit = -1",
    _CACHE,
    "temp_store = MEMORY",
)
_MEMORY_PRAGMAS: Final = ("journal_mode = MEMORY", "temp_store = MEMORY")
_READER_PRAGMAS: Final = ("query_only = ON", "temp_store = MEMORY")

# An owner that is stopped inside a transaction must not keep its row locked for ever, and nobody waits for a
# lock for ever: what waits is repeated.
_POSTGRES_WRITER: Final = (
    "synchronous_commit = on",
    "idle_in_transaction_session_timeout = '3s'",
    "lock_timeout = '5s'",
)
_POSTGRES_READER: Final = ("default_transaction_read_only = on", "statement_timeout = '30s'")


class Target(NamedTuple):
    """Which database a URL means."""

    dialect: str
    """"sqlite" or "postgresql"."""
    url: URL
    path: Path | None
    """The file of an SQLite database."""
    memory: str
    """The name of an SQLite database in memory, empty for all others."""

    def __str__(self) -> str:
        """Show the URL without anything that lets one in."""
        return shown_url(self._whole_url())

    def secrets(self) -> Secrets:
        """Return what must not be passed on of what a driver says."""
        return Secrets(self._whole_url())

    def _whole_url(self) -> str:
        return self.url.render_as_string(hide_password=False)


def parse_url(url: str) -> Target:
    """Understand a database URL.

    Args:
        url: `sqlite:///PATH`, `sqlite://` for a database in this process's memory (`sqlite://?name=NAME` for
            one of several), `postgresql+psycopg://...` or `postgresql://...`.

    Raises:
        ValueError: It is none of these.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # the latter for a port that is no number: its text has that part
        raise ValueError(f"'{shown_url(url)}' is no database URL; {_ADVICE}") from None
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
        if not _HOST.fullmatch(parsed.host or ""):
            raise ValueError(f"'{shown_url(url)}' names no host; {_ADVICE}")
        return Target("postgresql", parsed.set(drivername="postgresql+psycopg"), None, "")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite") or parsed.host:
        raise ValueError(f"databases like '{shown_url(url)}' are not supported; {_ADVICE}")
    if parsed.database in (None, "", ":memory:"):
        name = parsed.query.get("name", "main")
        return Target("sqlite", parsed, None, name if isinstance(name, str) else name[0])
    path = _path_in(url)
    return Target("sqlite", parsed.set(database=str(path)), path.absolute(), "")


def beside(url: str) -> Path | None:
    """Return the directory for what belongs to a database and is too large for it; None if it has no file.

    Raises:
        ValueError: It is no URL of a database.
    """
    path = parse_url(url).path
    return path.with_name(f"{path.stem}-blobs") if path is not None else None


def keys_beside(url: str) -> Path | None:
    """Return the file for what must not be in a database, the keys of its secrets; None if it has no file.

    Raises:
        ValueError: It is no URL of a database.
    """
    path = parse_url(url).path
    return path.with_name("secret.key") if path is not None else None


def log_beside(url: str) -> Path | None:
    """Return the file that each commit to a database changes; None if that is not one file of this machine.

    Raises:
        ValueError: It is no URL of a database.
    """
    path = parse_url(url).path
    return path.with_name(path.name + LOG_SUFFIX) if path is not None else None


def _path_in(url: str) -> Path:
    """Return the file that a URL of an SQLite database names. Not every SQLAlchemy decodes it."""
    place, _, _ = url.partition("?")
    return Path(os.fsdecode(unquote_to_bytes(place.partition(":///")[2])))


def writer_engine(target: Target) -> Engine:
    """Make the engine a store takes its one connection from."""
    if target.dialect == "postgresql":
        return _postgres_engine(target, NullPool, read_only=False)
    pragmas = _MEMORY_PRAGMAS if target.memory else _WRITER_PRAGMAS
    engine = create_engine(
        "sqlite://",
        creator=_sqlite_creator(target, "rwc", pragmas),
        poolclass=NullPool,
        hide_parameters=True,  # errors are logged, and rows hold arguments
    )
    # sqlite3 left alone starts a transaction as late as the first write, which can then fail on the upgrade
    # of its lock; so it does not start any (isolation_level=None), and every transaction is announced here.
    event.listen(engine, "begin", _begin_immediate)
    return engine


def reader_engine(target: Target) -> Engine:
    """Make an engine whose connections can only read."""
    if target.dialect == "postgresql":
        return _postgres_engine(target, QueuePool, read_only=True)
    creator = _sqlite_creator(target, "ro", _READER_PRAGMAS)
    return create_engine(
        "sqlite://",
        creator=creator,
        poolclass=QueuePool,
        pool_size=_READERS,
        max_overflow=_READERS,
        hide_parameters=True,
    )


def raw(connection: Connection) -> Any:
    """Return the driver's own connection."""
    return connection.connection.dbapi_connection


def grow_log(connection: Connection, path: Path) -> None:
    """Give the write-ahead log its working size before the first commit needs it.

    A transaction too large for the cache writes its pages to the log, and undoing it leaves the log's length
    as it is. Without this each commit would make the file longer, which doubles the time of its sync. A disk
    with little room is left alone.
    """
    if disk_usage(path.parent).free < 16 * LOG_BYTES:
        return
    driver = raw(connection)
    driver.execute("PRAGMA cache_size = 16")
    driver.execute(BEGIN)
    driver.execute(
        f"INSERT INTO code_blob_part (digest, part, data) VALUES (x'00', 0, zeroblob({LOG_BYTES}))"
    )
    driver.execute("ROLLBACK")
    driver.execute(f"PRAGMA {_CACHE}")


def _begin_immediate(connection: Connection) -> None:
    driver = raw(connection)
    if not driver.in_transaction:  # a store may have begun one by itself
        driver.execute(BEGIN)


def _sqlite_creator(target: Target, mode: str, pragmas: tuple[str, ...]) -> Callable[[], sqlite3.Connection]:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise StorageUnavailable(
            f"SQLite {sqlite3.sqlite_version} is too old, 3.36 or later is needed; "
            "use a newer Python build, or PostgreSQL"
        )
    if target.memory:
        uri = f"file:/taskyard-{quote(target.memory, safe='')}?vfs=memdb"
    else:
        uri = f"file:{quote(os.fsencode(str(target.path)))}?mode={mode}"

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            uri,
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=CACHED_STATEMENTS,
        )
        try:
            for pragma in pragmas:
                connection.execute(f"PRAGMA {pragma}").fetchall()
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    return connect


def _postgres_engine(target: Target, pool: type[NullPool | QueuePool], *, read_only: bool) -> Engine:
    sizes: dict[str, Any] = {}
    if pool is QueuePool:
        sizes = {"pool_size": _READERS, "max_overflow": _READERS, "pool_pre_ping": True}
    # Whoever needs a transaction spells it out, so that BEGIN, the work and COMMIT can travel together.
    try:
        engine = create_engine(
            target.url,
            poolclass=pool,
            isolation_level="AUTOCOMMIT",
            connect_args={
                "connect_timeout": 5,
                "keepalives_idle": 5,
                "keepalives_interval": 2,
                "keepalives_count": 3,
                "tcp_user_timeout": 10_000,
                "application_name": "taskyard reader" if read_only else "taskyard owner",
            },
            hide_parameters=True,  # errors are logged, and rows hold arguments
            **sizes,
        )
    except ImportError:
        raise ValueError(
            f"the database '{target}' needs psycopg, which is not installed; "
            "run: pip install 'taskyard[postgres]'"
        ) from None
    _check_parameters(engine, target)
    settings = _POSTGRES_READER if read_only else _POSTGRES_WRITER

    def prepare(connection: Any, _record: object) -> None:
        connection.autocommit = True
        connection.execute("; ".join(f"SET {setting}" for setting in settings))

    event.listen(engine, "connect", prepare)
    return engine


def _check_parameters(engine: Engine, target: Target) -> None:
    """Have the driver read a URL's parameters now; otherwise it would be the first connection that fails."""
    from psycopg import Error
    from psycopg.conninfo import make_conninfo

    try:
        _, parameters = engine.dialect.create_connect_args(target.url)
        parameters.pop("context", None)  # of types, for psycopg's own use
        make_conninfo("", **parameters)
    except (Error, ArgumentError, TypeError, ValueError) as error:
        said = target.secrets().hide(" ".join(str(error).split()))
        raise ValueError(f"the database '{target}' cannot be used: {said}") from None
