"""The owner's lease on a PostgreSQL database.

The owner's row carries a time until which nobody may take over, by the clock of the database, and the
number of the server process that the owner is connected to. A new owner waits for that time to pass, but not
when the server process is gone: then the owner is gone, or has to find its way back through this row anyway.

Invariant: two owners never hold a generation at the same time, and taking over ends the previous owner's
server process, so that a transaction it left open cannot keep the row locked.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, text

from taskyard_controlplane.storage.errors import DatabaseInUse
from taskyard_controlplane.storage.interface import Ownership
from taskyard_controlplane.storage.ownership import SHARD, fenced, take_over

LEASE_SECONDS: Final = 10.0  # how long a standby waits for an owner whose machine is gone
RENEW_SECONDS: Final = 3.0  # so that two renewals in a row may fail
PATIENCE_SECONDS: Final = 12.0  # somewhat more than a lease, so that one nobody renews runs out
_POLL: Final = 0.2  # a standby takes over so long after the lease has ended, at most

# "tyrd" and the shard: whoever creates, upgrades or takes over does so one after the other.
_ADVISORY_KEY: Final = 0x74797264_0000 + SHARD

_NOW_US: Final = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_STATE: Final = text(
    f"SELECT owner_id, backend_pid, expires_us, expires_us <= {_NOW_US} AS expired, EXISTS ("
    "  SELECT FROM pg_stat_activity WHERE pid = backend_pid AND datname = current_database()"
    f") AS connected FROM shard_owner WHERE shard = {SHARD}"
)

RENEW: Final = (
    f"UPDATE shard_owner SET expires_us = {_NOW_US} + {int(LEASE_SECONDS * 1e6)}, "
    f"backend_pid = pg_backend_pid() WHERE shard = {SHARD} AND generation = %s"
)
EXPIRE: Final = f"UPDATE shard_owner SET expires_us = 0 WHERE shard = {SHARD} AND generation = %s"

# Checks the generation, locks the owner's row against a takeover until COMMIT, and records the commit, in one
# statement. Without a matching row the generation is NULL, which the table refuses: that, unlike an answer,
# also stops the statements which are already on their way behind it.
CLAIM: Final = (
    "INSERT INTO commit_log (shard, generation, number, low_seq) "
    f"VALUES ({SHARD}, (SELECT generation FROM shard_owner WHERE shard = {SHARD} AND generation = %s "
    "FOR SHARE), %s, %s)"
)
GUARD: Final = f"SELECT generation FROM shard_owner WHERE shard = {SHARD} AND generation = %s FOR SHARE"


class _Holder(NamedTuple):
    owner_id: str
    backend_pid: int
    expires_us: int
    expired: bool
    connected: bool


def serialise_openings(connection: Connection) -> None:
    """Wait, inside a transaction, until no other process opens this database."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_KEY})


class Takeover:
    """One process's attempts to become the owner."""

    def __init__(
        self, owner_id: str, where: str, clock: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        """Say who wants the database.

        Args:
            owner_id: The name of the process.
            where: The database, as its URL without password.
            clock: Seconds that never jump.
            sleep: How to wait.
        """
        self._owner_id = owner_id
        self._where = where
        self._clock = clock
        self._sleep = sleep
        self._deadline = clock() + PATIENCE_SECONDS
        self._first_seen: _Holder | None = None

    def allowed(self, connection: Connection) -> bool:
        """Whether the owner before is gone, or made to be, in the transaction the connection is in.

        Raises:
            DatabaseInUse: It is alive and renews its lease.
        """
        holder = _holder(connection)
        if holder is None or not holder.connected:
            return True
        if not holder.expired:
            self._be_patient_with(holder)
            return False
        connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": holder.backend_pid})
        return True

    def complete(self, connection: Connection) -> Ownership:
        """Become the owner, in the transaction that found out that it is allowed."""
        pid, now_us = connection.execute(text(f"SELECT pg_backend_pid(), {_NOW_US}")).one()
        return take_over(connection, self._owner_id, pid, now_us + int(LEASE_SECONDS * 1e6))

    def wait(self) -> None:
        """Let some time pass before the next attempt."""
        self._sleep(_POLL)

    def _be_patient_with(self, holder: _Holder) -> None:
        first = self._first_seen = self._first_seen or holder
        if holder.expires_us > first.expires_us or self._clock() >= self._deadline:
            raise DatabaseInUse(
                f"the database {self._where} is in use by {holder.owner_id} "
                f"(server process {holder.backend_pid}); stop that one, or use another database"
            )


def renew(connection: Any, generation: int) -> None:
    """Extend the lease, and wait for what another connection of this owner may still be committing.

    Args:
        connection: The driver's connection.
        generation: Ours.

    Raises:
        NotOwner: A newer generation exists.
    """
    if connection.execute(RENEW, (generation,)).rowcount != 1:
        raise fenced(generation)


def _holder(connection: Connection) -> _Holder | None:
    row = connection.execute(_STATE).one_or_none()
    return None if row is None else _Holder._make(row)
