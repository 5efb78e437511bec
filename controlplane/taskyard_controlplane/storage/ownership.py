"""Who owns the database: a row with a generation, which every commit checks.

Taking over is: read the owner's row, write it back with the generation one higher. From that commit on
every transaction of the owner before fails its check, because each checks the generation inside itself: on
SQLite in the statement that records the commit, on PostgreSQL under a share lock on the row, which a
takeover has to wait for. So it does not matter whether the owner before was dead, paused, or only slow to
hear of its end.

Each commit leaves a row (generation, number) in the commit log. It answers the one question that a lost
answer to COMMIT leaves open, and it carries the lowest open seq, from which the next recovery starts to
read. Only the newest entries are needed, so upkeep trims the log, after copying the lowest open seq into
the owner's row; a takeover empties it, because what earlier generations committed is no longer in question.

The row also names the database, by chance and for good: with the generation and the number of the newest
commit that says which database one has, and of when (`Identity`).

Invariant: generations only grow, and each is handed out once.
"""

import os
import secrets
import socket
from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import Column, Connection, delete, func, insert, inspect, select, update

from taskyard_contract.errors import NotOwner
from taskyard_controlplane.storage.interface import Ownership
from taskyard_controlplane.storage.schema import (
    agent,
    commit_log,
    dispatch,
    run,
    run_log,
    shard_owner,
    template,
)

SHARD: Final = 0
"""The only shard of this version."""

KEPT_COMMITS: Final = 64
"""How many of the newest entries of the commit log stay; one would do, more help to see what happened."""


class Identity(NamedTuple):
    """Which database it is, and up to which commit."""

    database_id: str
    """Empty in a database that no release has given one."""
    generation: int
    number: int
    """Of the newest commit of this generation; 0 before the first."""

    def lacks(self, other: "Identity") -> bool:
        """Whether this is another database than `other`, or the same at an earlier time."""
        return self.database_id != other.database_id or self[1:] < other[1:]


def stored_identity(connection: Connection) -> Identity | None:
    """Return what a database of this release or an earlier one says of itself; None without an owner."""
    inspector = inspect(connection)
    if not inspector.has_table(shard_owner.name):
        return None
    names = {column["name"] for column in inspector.get_columns(shard_owner.name)}
    generation = connection.execute(
        select(shard_owner.c.generation).where(shard_owner.c.shard == SHARD)
    ).scalar()
    if generation is None:
        return None
    number = connection.execute(
        select(func.max(commit_log.c.number)).where(
            commit_log.c.shard == SHARD, commit_log.c.generation == generation
        )
    ).scalar()
    name = (
        connection.execute(select(shard_owner.c.database_id).where(shard_owner.c.shard == SHARD)).scalar()
        if shard_owner.c.database_id.name in names
        else None
    )
    return Identity(name or "", generation, number or 0)


def new_owner_id() -> str:
    """Name this process so that people can find it and no other has the name."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


def take_over(connection: Connection, owner_id: str, backend_pid: int, expires_us: int) -> Ownership:
    """Become the owner, inside the transaction the connection is in.

    The caller has made sure that the previous owner is gone, or will be fenced by this.
    """
    previous = connection.execute(
        select(
            shard_owner.c.generation,
            shard_owner.c.low_seq,
            shard_owner.c.database_id,
            shard_owner.c.last_gone_seq,
        ).where(shard_owner.c.shard == SHARD)
    ).one_or_none()
    generation = previous.generation + 1 if previous else 1
    low_seq = _last_low_seq(connection) or (previous.low_seq if previous else 1)
    values = {
        "owner_id": owner_id,
        "backend_pid": backend_pid,
        "generation": generation,
        "expires_us": expires_us,
        "low_seq": low_seq,
        "database_id": (previous.database_id if previous else None) or secrets.token_hex(16),
    }
    if previous:
        connection.execute(update(shard_owner).where(shard_owner.c.shard == SHARD).values(values))
    else:
        connection.execute(insert(shard_owner).values(shard=SHARD, **values))
    connection.execute(delete(commit_log).where(commit_log.c.shard == SHARD))
    return Ownership(
        generation=generation,
        # The newest runs may have been removed: a seq is never used twice.
        next_seq=max(
            _largest(connection, run.c.seq) + 1,
            low_seq,
            (previous.last_gone_seq or 0) + 1 if previous else 1,
        ),
        next_template_id=_largest(connection, template.c.template_id) + 1,
        low_seq=low_seq,
        next_dispatch=_largest(connection, dispatch.c.number) + 1,
        next_agent=_largest(connection, agent.c.number) + 1,
        next_log=_largest(connection, run_log.c.log_id) + 1,
    )


def check_generation(connection: Connection, generation: int) -> None:
    """Make sure that this process still is the owner.

    Raises:
        NotOwner: A newer generation exists.
    """
    current = connection.execute(
        select(shard_owner.c.generation).where(shard_owner.c.shard == SHARD)
    ).scalar()
    if current != generation:
        raise fenced(generation)


def was_committed(connection: Connection, generation: int, number: int) -> bool:
    """Whether a batch of this generation is in the database.

    Raises:
        NotOwner: A newer generation exists.
    """
    check_generation(connection, generation)
    logged = select(commit_log.c.number).where(
        commit_log.c.shard == SHARD, commit_log.c.generation == generation, commit_log.c.number == number
    )
    return connection.execute(logged).first() is not None


def trim_commit_log(connection: Connection, generation: int, number: int, low_seq: int) -> None:
    """Delete all but the newest entries, after keeping what they said in the owner's row."""
    connection.execute(
        update(shard_owner)
        .where(shard_owner.c.shard == SHARD, shard_owner.c.generation == generation)
        .values(low_seq=low_seq)
    )
    connection.execute(
        delete(commit_log).where(
            commit_log.c.shard == SHARD,
            commit_log.c.generation == generation,
            commit_log.c.number <= number - KEPT_COMMITS,
        )
    )


def fenced(generation: int) -> NotOwner:
    """Describe the loss of ownership."""
    return NotOwner(f"generation {generation} has been replaced by a newer one; this process must stop")


def lower(connection: Connection, seqs: Sequence[int]) -> None:
    """Let listings find runs that are open again, inside a commit that says it for recovery."""
    low = min(seqs)
    connection.execute(
        update(shard_owner)
        .where(shard_owner.c.shard == SHARD, shard_owner.c.low_seq > low)
        .values(low_seq=low)
    )


def _last_low_seq(connection: Connection) -> int | None:
    """Return what was said last; not the most, because runs that had ended may be opened again."""
    newest = (
        select(commit_log.c.low_seq)
        .where(commit_log.c.shard == SHARD, commit_log.c.low_seq.is_not(None))
        .order_by(commit_log.c.generation.desc(), commit_log.c.number.desc())
        .limit(1)
    )
    found: int | None = connection.execute(newest).scalar()
    return found


def _largest(connection: Connection, column: Column[int]) -> int:
    return connection.execute(select(func.max(column))).scalar() or 0
