"""The store on SQLite: one process, one connection, for commits and checkpoints alike.

A commit is BEGIN IMMEDIATE, one statement that checks the generation and records the commit, the rows,
COMMIT. It is durable once the write-ahead log is synced, which is nearly all it costs when it is small. The
log is copied into the database by checkpoints, which this store asks for itself: when the owner is idle, or
before the next commit when so much has been written that the log would grow without bound. A checkpoint that
fails undoes no commit.

One connection does both because releases of SQLite before 3.51.3 can corrupt the log when two do. A
checkpoint copies only what no reader still needs, so readers hold no connection open between two reads.

That the file is the one which was written before, and stays it, is looked after by `identity_file` and
`presence`: when it is opened, and with each upkeep.

Invariant: while a store is open it holds the lock beside the file, so no other process writes.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import itemgetter
from time import monotonic
from typing import Final

from sqlalchemy import Connection

from taskyard_contract.errors import TaskyardError
from taskyard_controlplane.storage.base import BaseStore
from taskyard_controlplane.storage.engine import BEGIN, CACHED_STATEMENTS, Target, grow_log, raw
from taskyard_controlplane.storage.errors import DatabaseLost
from taskyard_controlplane.storage.interface import (
    CommitResult,
    EndedRow,
    LogRow,
    NewRunRow,
    Ownership,
    WriteBatch,
)
from taskyard_controlplane.storage.logs.log_files import log_files
from taskyard_controlplane.storage.ownership import (
    SHARD,
    Identity,
    check_generation,
    fenced,
    new_owner_id,
    stored_identity,
    take_over,
    trim_commit_log,
    was_committed,
)
from taskyard_controlplane.storage.sqlite.identity_file import IdentityFile
from taskyard_controlplane.storage.sqlite.lockfile import lock_for
from taskyard_controlplane.storage.sqlite.logs import SqliteLogStore
from taskyard_controlplane.storage.sqlite.presence import Presence
from taskyard_controlplane.storage.sqlite.private_database import close_database
from taskyard_controlplane.storage.sqlite.writer import write_batch
from taskyard_controlplane.storage.upgrade import prepare_schema

_log = logging.getLogger(__name__)

# When the log is copied into the database. A checkpoint costs two syncs and the writing of each changed page
# once, so it pays to let pages change often before; the log keeps the size it has grown to.
IDLE_PAGES: Final = 2048  # 8 MB: now and then, between two commits
MOST_PAGES: Final = (
    16384  # 64 MB: before the next commit, or the log would grow for as long as the load lasts
)
MOST_PAYLOAD: Final = 1024 * 1024
"""Pages of payload never change: to wait wins nothing, and whoever commits next waits for all of it."""
_PAGE_BYTES: Final = 4096  # SQLite's own; what the log has grown by is estimated with it
_IDLE_SECONDS: Final = 5.0  # however little there is to copy, nobody finds an old log after a pause
_REST_SECONDS: Final = 20.0  # so long with little to write, and the pages in memory are not worth their 16 MB
LITTLE_ROWS: Final = 40_000  # of what is written in that time; a server at work writes as much in a second
_args_of: Final = itemgetter(NewRunRow._fields.index("args"))
_message_of: Final = itemgetter(LogRow._fields.index("message"))
_result_of: Final = itemgetter(EndedRow._fields.index("result"))

GIVEN_BACK_PAGES: Final = 64
"""At a time: a millisecond."""
_INCREMENTAL: Final = 2  # what SQLite calls it

_NOTHING: Final = [f"SELECT {number}" for number in range(CACHED_STATEMENTS)]

# One statement checks the generation and records the commit: it writes nothing when the generation is old.
_CLAIM: Final = (
    "INSERT INTO commit_log (shard, generation, number, low_seq) "
    f"SELECT shard, generation, ?, ? FROM shard_owner WHERE shard = {SHARD} AND generation = ?"
)


class SqliteStore(BaseStore):
    """`Store` on an SQLite file, or on a database in memory for tests."""

    dialect = "sqlite"
    small_commits_are_fast = True

    def __init__(self, target: Target, clock: Callable[[], float] = monotonic) -> None:
        """Name the database; nothing is opened yet.

        Args:
            target: Which database.
            clock: Seconds that never jump.
        """
        super().__init__(target, clock)
        self.logs = SqliteLogStore(log_files(target), target)
        self._lock = lock_for(target.path, target.memory)
        self._identity_file = IdentityFile(target.path) if target.path is not None else None
        self._presence = Presence(target.path) if target.path is not None else None
        self._identity: Identity | None = None  # as it is noted beside the database; None before it is open
        self._lost = False
        self.checkpoint_due = False
        # Estimates of what the log holds beyond the last checkpoint: pages, and bytes of payload in them.
        self._pages = self._payload = 0
        self._checkpointed_at = self._looked_at = clock()
        self._rows = 0  # written since it was looked how busy it is
        self._rested = False  # whether pages were let go since the last commit

    def open(self) -> Ownership:
        self._lock.acquire()
        note = self._identity_file
        try:
            if note is not None:
                note.check_there()
            if self._target.path is not None:
                close_database(self._target.path)
            with self._connected() as connection:
                if note is not None:
                    note.check(stored_identity(connection))
                prepare_schema(connection, str(self._target))
                ownership = take_over(connection, new_owner_id(), 0, 0)
                self._identity = stored_identity(connection)
        except BaseException:
            self._identity = None
            self.close()
            raise
        self._generation, self._low_seq = ownership.generation, ownership.low_seq
        if self._target.path is not None:
            with self._translated():
                grow_log(self._connect(), self._target.path)
                self._forget_statements()
        if self._presence is not None:
            self._presence.opened()
        if note is not None and self._identity is not None:
            note.write(self._identity)
        return ownership

    def commit(self, batch: WriteBatch) -> CommitResult:
        if self.checkpoint_due:
            self._checkpoint_unasked()
        with self._translated(), self._transaction() as connection:
            result = self._write(connection, batch)
        self._committed(batch)
        rows = batch.rows()
        self._rows += rows
        self._rested = False
        self._wrote(5 + rows // 10, _payload_of(batch))
        return result

    def put_blob(self, digest: bytes, data: bytes) -> None:
        super().put_blob(digest, data)
        self._wrote(4, len(data))

    def _wrote(self, pages: int, payload: int) -> None:
        """Count what was added to the log, about; SQLite does not tell."""
        self._pages += pages + payload // _PAGE_BYTES
        self._payload += payload
        self.checkpoint_due = self._pages >= MOST_PAGES or self._payload >= MOST_PAYLOAD

    def maintain(self) -> None:
        """Look whether the files are still there, note how far they have come, do a checkpoint if it pays.

        When little is written the pages in memory are let go, and what statements hold; what comes next finds
        the pages in the system's cache.
        """
        self._check_presence()
        self._note_identity()
        now = self._clock()
        if self._pages >= IDLE_PAGES or (self._pages and now - self._checkpointed_at >= _IDLE_SECONDS):
            self._checkpoint()
        if now - self._looked_at >= _REST_SECONDS:
            if not self._rested and self._rows <= LITTLE_ROWS:
                self._let_go()
                self._rested = True
            self._looked_at, self._rows = now, 0

    def used_bytes(self) -> int:
        return (self._number_of("page_count") - self._number_of("freelist_count")) * self._page_size()

    def free_bytes(self) -> int:
        return self._number_of("freelist_count") * self._page_size()

    def give_back(self) -> bool:
        """Cut free pages off the end of the file; one that was made before this was possible keeps its
        size.
        """
        before = self._number_of("freelist_count")
        if not before or self._number_of("auto_vacuum") != _INCREMENTAL:
            return False
        with self._translated():
            # Python's sqlite3 steps through all of it only in a script: `execute` frees a single page.
            raw(self._connect()).executescript(f"PRAGMA incremental_vacuum({GIVEN_BACK_PAGES})")
        self._wrote(GIVEN_BACK_PAGES, 0)
        return 0 < self._number_of("freelist_count") < before

    def _number_of(self, pragma: str) -> int:
        with self._translated():
            [(number,)] = raw(self._connect()).execute(f"PRAGMA {pragma}").fetchall()
            return int(number)

    def _page_size(self) -> int:
        return self._number_of("page_size")

    def close(self) -> None:
        if not self._lost:
            self._note_identity()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._engine.dispose()
        self._lock.release()

    def _connect(self) -> Connection:
        if self._connection is None and self._presence is not None:
            try:
                self._presence.reopening()
            except DatabaseLost:
                self._lost = True
                raise
        return super()._connect()

    def _check_presence(self) -> None:
        if self._presence is not None:
            try:
                self._presence.check()
            except DatabaseLost:
                self._lost = True
                raise

    def _note_identity(self) -> None:
        """Note beside the database what it has, if that is news."""
        known = self._identity
        if self._identity_file is not None and known is not None and self._number > known.number:
            self._identity = known._replace(number=self._number)
            self._identity_file.write(self._identity)

    @contextmanager
    def _owning(self) -> Iterator[Connection]:
        """Hand out the connection in a transaction that has checked the generation, and commit at the end."""
        with self._connected() as connection:
            check_generation(connection, self._generation)
            yield connection

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """Hand out the connection in a transaction of its driver, and commit at the end.

        SQLAlchemy joins it where it is asked for something; its own share of a transaction would be half of
        what a small commit costs beside its sync.
        """
        connection = self._connect()
        driver = raw(connection)
        driver.execute(BEGIN)
        try:
            yield connection
            if connection.in_transaction():
                connection.commit()
            else:
                driver.commit()
        except BaseException:
            connection.rollback()
            driver.rollback()
            raise

    def _write(self, connection: Connection, batch: WriteBatch) -> CommitResult:
        if batch.repeated and was_committed(connection, self._generation, batch.number):
            return self._looked_up(connection, batch, -1)
        claim = (batch.number, batch.low_seq, self._generation)
        if raw(connection).execute(_CLAIM, claim).rowcount != 1:
            raise fenced(self._generation)
        return self._looked_up(connection, batch, write_batch(connection, batch))

    def _attempt(self, batch: WriteBatch) -> None:
        with self._translated():
            connection = self._connect()
            transaction = connection.begin()
            try:
                write_batch(connection, batch)
            finally:
                transaction.rollback()

    def _checkpoint(self) -> None:
        with self._connected() as connection:
            trim_commit_log(connection, self._generation, self._number, self._low_seq)
        self._pragma("wal_checkpoint(PASSIVE)")
        self._written_back(0)

    def _written_back(self, left: int) -> None:
        self._pages, self._payload, self.checkpoint_due = left, 0, False
        self._checkpointed_at = self._clock()

    def _pragma(self, pragma: str) -> None:
        """Run a pragma on the driver's connection, because SQLAlchemy would begin a transaction around it."""
        with self._translated():
            raw(self._connect()).execute(f"PRAGMA {pragma}").fetchall()

    def _let_go(self) -> None:
        """Free the pages in memory, and the values that were bound last: a prepared statement keeps them, up
        to megabytes each, until it is used again or others have taken its place in the driver's cache.
        """
        self._pragma("shrink_memory")
        with self._translated():
            self._forget_statements()
        self._engine.clear_compiled_cache()

    def _forget_statements(self) -> None:
        """Let others take the place of all statements that are prepared.

        Done once before there is any work, the driver makes what it needs for a full cache there and then;
        what it made amid the objects of a burst would keep the memory around it.
        """
        driver = raw(self._connect())
        for statement in _NOTHING:
            driver.execute(statement).fetchall()

    def _checkpoint_unasked(self) -> None:
        """Keep the log from growing for ever under load; what was committed before stands in any case."""
        try:
            self._checkpoint()
        except TaskyardError as error:
            _log.warning("checkpoint failed, it will be repeated: %s", error)
            self._written_back(IDLE_PAGES)


def _payload_of(batch: WriteBatch) -> int:
    payload = sum(map(len, filter(None, map(_args_of, batch.new_runs))))
    payload += sum(map(len, filter(None, map(_result_of, batch.ended))))
    payload += sum(len(data) for _, data in batch.blobs)
    payload += sum(len(definition) for _, _, definition, _ in batch.templates)
    payload += sum(map(len, map(_message_of, batch.logs)))
    return payload
