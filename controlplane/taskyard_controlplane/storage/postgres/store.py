"""The store on PostgreSQL: one connection, one transaction at a time, as few round trips as possible.

A commit is BEGIN, one statement that checks the generation, locks the owner's row and records the commit,
the rows, COMMIT. All of it is sent in one pipeline where no answer is needed on the way: one round trip.
Many new runs go through COPY, which is half as dear for the server but cannot be in a pipeline; COPY knows
no ON CONFLICT, so a run that exists undoes the transaction, and the batch is written again the other way.
That is rare: ids are new unless a client sent a batch twice.

A statement in a pipeline does not know that the one before it failed. So a lost generation has to be an
error of the database, not an answer: the claim inserts NULL where the generation should be, and everything
behind it fails.

Invariant: every transaction that writes checks the generation first and locks the owner's row, so it cannot
commit after a takeover.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any, Final

import psycopg
from sqlalchemy import Connection

from taskyard_controlplane.storage.base import BaseStore
from taskyard_controlplane.storage.blobs import store_blob
from taskyard_controlplane.storage.engine import Target, raw
from taskyard_controlplane.storage.interface import CommitResult, Ownership, WriteBatch
from taskyard_controlplane.storage.ownership import (
    fenced,
    new_owner_id,
    trim_commit_log,
    was_committed,
)
from taskyard_controlplane.storage.postgres import lease
from taskyard_controlplane.storage.postgres.logs import PostgresLogStore, prepare_logs
from taskyard_controlplane.storage.postgres.writer import copy_runs, write_rows
from taskyard_controlplane.storage.upgrade import prepare_schema, recorded_revision

_COPY_FROM: Final = 64  # new runs from which COPY pays, though it costs three more round trips
_TRIM_SECONDS: Final = 30.0  # the commit log has one small row for each commit since


class PostgresStore(BaseStore):
    """`Store` on PostgreSQL, where owner and standby compete for a lease."""

    dialect = "postgresql"
    small_commits_are_fast = False
    checkpoint_due = False

    def __init__(
        self,
        target: Target,
        clock: Callable[[], float] = monotonic,
        wait: Callable[[float], None] = sleep,
    ) -> None:
        """Name the database; nothing is opened yet.

        Args:
            target: Which database.
            clock: Seconds that never jump.
            wait: How to wait for the lease of an owner that is gone.
        """
        super().__init__(target, clock)
        self.logs = PostgresLogStore(target, wait)
        self._wait = wait
        self._renewed_at = clock()
        self._trimmed_at = clock()

    def open(self) -> Ownership:
        try:
            with self._translated():
                ownership = self._take_over()
        except BaseException:
            self.close()
            raise
        self._generation, self._low_seq = ownership.generation, ownership.low_seq
        self._renewed_at = self._clock()
        return ownership

    def commit(self, batch: WriteBatch) -> CommitResult:
        with self._translated():
            connection = self._connect()
            if batch.repeated and was_committed(connection, self._generation, batch.number):
                result = self._looked_up(connection, batch, -1)
            else:
                result = self._write(connection, batch)
        self._committed(batch)
        return result

    def maintain(self) -> None:
        """Renew the lease when it is time, and trim what only recovery reads."""
        now = self._clock()
        if now - self._renewed_at >= lease.RENEW_SECONDS:
            with self._translated():
                lease.renew(raw(self._connect()), self._generation)
            self._renewed_at = now
        if now - self._trimmed_at >= _TRIM_SECONDS:
            with self._translated(), self._begun() as connection:
                trim_commit_log(connection, self._generation, self._number, self._low_seq)
            self._trimmed_at = now

    def used_bytes(self) -> int:
        """Return how much the database takes: what is free in it, its own vacuum uses again."""
        with self._connected() as connection:
            [(size,)] = raw(connection).execute("SELECT pg_database_size(current_database())").fetchall()
            return int(size)

    def free_bytes(self) -> int:
        """Return 0: only looking through all of its pages would tell."""
        return 0

    def give_back(self) -> bool:
        """Do nothing: PostgreSQL keeps the room of rows that went for new ones, and has a vacuum of its
        own.
        """
        return False

    def close(self) -> None:
        """Give the database up, so that the next owner need not wait for the lease."""
        if self._connection is not None and self._generation:
            try:
                raw(self._connection).execute(lease.EXPIRE, (self._generation,))
            except psycopg.Error:
                # The connection is gone, which tells the next owner as much.
                self._disconnect()
        self._generation = 0
        self._disconnect()
        self._engine.dispose()

    def _connect(self) -> Connection:
        """Return the connection; a new one first has to find out whether this is still the owner."""
        if self._connection is None:
            connection = super()._connect()
            if self._generation:
                lease.renew(raw(connection), self._generation)
                self._renewed_at = self._clock()
        return super()._connect()

    def _take_over(self) -> Ownership:
        with self._begun() as connection:
            lease.serialise_openings(connection)
            if recorded_revision(connection) is None:
                prepare_schema(connection, str(self._target))
        takeover = lease.Takeover(new_owner_id(), str(self._target), self._clock, self._wait)
        while True:
            with self._begun() as connection:
                lease.serialise_openings(connection)
                if takeover.allowed(connection):
                    # Not before: the owner of before may be of a release that needs the schema as it is.
                    prepare_schema(connection, str(self._target))
                    prepare_logs(connection)
                    return takeover.complete(connection)
            takeover.wait()

    def _write(self, connection: Connection, batch: WriteBatch) -> CommitResult:
        if len(batch.new_runs) >= _COPY_FROM:
            try:
                return self._write_once(connection, batch, copy=True)
            except (psycopg.errors.UniqueViolation, psycopg.DataError):
                # A run that exists, or text with a NUL in it. Nothing was written; the other way copes.
                return self._write_once(connection, batch, copy=False)
        return self._write_once(connection, batch, copy=False)

    def _write_once(self, connection: Connection, batch: WriteBatch, *, copy: bool) -> CommitResult:
        """Write in one transaction.

        What can be sent without waiting for answers goes through a pipeline: usually that is all of it.
        """
        driver = raw(connection)
        staged = copy or bool(batch.blobs)
        finish = not (batch.lookup_runs or batch.lookup_keys or batch.reopened)
        with self._rolled_back_on_error(driver):
            if staged:
                with driver.pipeline():
                    self._begin(driver, batch)
                self._write_staged(connection, batch, copy=copy)
            with driver.pipeline():
                if not staged:
                    self._begin(driver, batch)
                inserting = write_rows(driver, batch, copied=copy)
                if finish:
                    driver.execute("COMMIT")
            inserted = len(batch.new_runs) if inserting is None else inserting.rowcount
            result = self._looked_up(connection, batch, inserted)
            if not finish:
                driver.execute("COMMIT")
        return result

    def _begin(self, driver: Any, batch: WriteBatch) -> None:
        driver.execute("BEGIN")
        if self._clock() - self._renewed_at >= lease.RENEW_SECONDS:
            driver.execute(lease.RENEW, (self._generation,))
            self._renewed_at = self._clock()
        driver.execute(lease.CLAIM, (self._generation, batch.number, batch.low_seq))

    def _write_staged(self, connection: Connection, batch: WriteBatch, *, copy: bool) -> None:
        for digest, data in batch.blobs:
            store_blob(connection, digest, data)
        if copy:
            copy_runs(raw(connection), batch)

    def _attempt(self, batch: WriteBatch) -> None:
        with self._translated():
            connection = self._connect()
            driver = raw(connection)
            with self._rolled_back_on_error(driver):
                driver.execute("BEGIN")
                for digest, data in batch.blobs:
                    store_blob(connection, digest, data)
                with driver.pipeline():
                    write_rows(driver, batch, copied=False)
                driver.execute("ROLLBACK")

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """Hand out the connection: where nobody else writes, reads need no transaction around them."""
        with self._translated():
            yield self._connect()

    @contextmanager
    def _owning(self) -> Iterator[Connection]:
        """Hand out the connection in a transaction that has checked the generation, and commit at the end."""
        with self._translated(), self._begun() as connection:
            if raw(connection).execute(lease.GUARD, (self._generation,)).fetchone() is None:
                raise fenced(self._generation)
            yield connection

    @contextmanager
    def _begun(self) -> Iterator[Connection]:
        """Hand out the connection inside a transaction that commits at the end."""
        connection = self._connect()
        driver = raw(connection)
        with self._rolled_back_on_error(driver):
            driver.execute("BEGIN")
            yield connection
            driver.execute("COMMIT")

    @contextmanager
    def _rolled_back_on_error(self, driver: Any) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            if not driver.closed:
                driver.rollback()
            if isinstance(error, psycopg.errors.NotNullViolation) and error.diag.table_name == "commit_log":
                raise fenced(self._generation) from error
            raise
