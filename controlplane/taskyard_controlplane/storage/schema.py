"""The tables, for both databases.

A run is written twice: inserted when it is submitted, updated when it ends. So no index covers a column
that changes (PostgreSQL then updates rows in place), and integers come first in a row, payloads last.
The owner assigns `seq`; the bits above 48 of it are kept for the number of the shard, 0 today.

Invariant: `REVISION` names the newest migration, and running all migrations gives exactly these tables.
"""

from typing import Final

from sqlalchemy import (
    DDL,
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    event,
    literal_column,
    text,
)

from taskyard_contract.states import RunKind, RunState

REVISION: Final = "0009"
"""The newest revision under `migrations/versions`, known without importing alembic."""

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

# SQLite makes a column its row number only when the type is INTEGER.
_Key = BigInteger().with_variant(Integer, "sqlite")


def _is_a_state() -> str:
    """Say in SQL that `state` is a member of `RunState`, as ranges: a list costs 2 us a run on SQLite."""
    members = sorted(int(state) for state in RunState)
    firsts = [member for member in members if member - 1 not in members]
    lasts = [member for member in members if member + 1 not in members]
    return " OR ".join(f"state BETWEEN {first} AND {last}" for first, last in zip(firsts, lasts, strict=True))


run = Table(
    "run",
    metadata,
    Column("seq", _Key, primary_key=True, autoincrement=False),
    Column("run_id", LargeBinary, nullable=False),
    Column("kind", SmallInteger, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("reason", SmallInteger, nullable=False, server_default=text("0")),
    Column("attempt", Integer, nullable=False, server_default=text("1")),
    Column("infra_retries", Integer, nullable=False, server_default=text("0")),
    Column("template_id", Integer, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("flow_seq", BigInteger),
    Column("epoch", BigInteger, nullable=False, server_default=text("0")),
    Column("submitted_us", BigInteger, nullable=False),
    Column("started_us", BigInteger),
    Column("ended_us", BigInteger),
    Column("caller_id", LargeBinary),
    Column("session_id", LargeBinary),
    Column("name", Text),
    Column("cache_key", Text),
    Column("upstream", LargeBinary),
    Column("args_blob", LargeBinary),
    Column("args", LargeBinary),
    Column("result", LargeBinary),
    Column("outcome", LargeBinary),
    Column("headers", LargeBinary),
    Column("agent_number", Integer),
    # A submission repeated after a lost acknowledgement; runs asked for by id.
    UniqueConstraint("run_id"),
    CheckConstraint(_is_a_state(), name="state"),
)

# Listing the runs of a flow run, newest first, and finding those of it that wait in the backlog.
Index(None, run.c.flow_seq, run.c.seq)

# Listing flow runs: they are few among many task runs, which have no entry here.
# The number is part of the text, or no planner knows that the index serves.
ARE_FLOWS: Final = run.c.kind == literal_column(str(int(RunKind.FLOW)))
Index("ix_run_flows", run.c.seq, sqlite_where=ARE_FLOWS, postgresql_where=ARE_FLOWS)

# Room for the second version of every row on its own page, so that ending a run touches no index: with the
# pages filled to 65 % half of the endings do, and cost twice as much. And vacuum early: a table that only
# grows by default waits until a fifth of it is dead.
event.listen(
    run,
    "after_create",
    DDL(  # type: ignore[no-untyped-call]
        "ALTER TABLE run SET (fillfactor = 45, autovacuum_vacuum_scale_factor = 0.02)"
    ).execute_if(dialect="postgresql"),
)

# The runs that ended otherwise than completed, because no index covers the state of all of them. A run never
# leaves a final state, so a row is never changed; and one that completes has none.
ended_badly = Table(
    "ended_badly",
    metadata,
    # Listing those in one state, newest first; not by seq alone, or a planner might read all in that order.
    Column("state", SmallInteger, primary_key=True, autoincrement=False),
    Column("kind", SmallInteger, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("flow_seq", BigInteger),
    sqlite_with_rowid=False,
)

# The same inside a flow run.
Index(None, ended_badly.c.flow_seq, ended_badly.c.state, ended_badly.c.seq)

template = Table(
    "template",
    metadata,
    Column("template_id", Integer, primary_key=True, autoincrement=False),
    Column("digest", LargeBinary, nullable=False),
    Column("definition", LargeBinary, nullable=False),
    Column("name", Text, nullable=False),
    # Kept once per content.
    UniqueConstraint("digest"),
)

run_event = Table(
    "run_event",
    metadata,
    Column("event_id", _Key, primary_key=True, autoincrement=True),
    Column("run_seq", BigInteger, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("reason", SmallInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("infra_retries", Integer, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("due_us", BigInteger),
    Column("state_name", Text),
    Column("message", Text),
    CheckConstraint(_is_a_state(), name="state"),
)

# The history of a run, for recovery and for people.
Index(None, run_event.c.run_seq)

dispatch = Table(
    "dispatch",
    metadata,
    Column("number", _Key, primary_key=True, autoincrement=False),
    Column("agent_id", Text, nullable=False),
    Column("session_id", LargeBinary, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("entries", LargeBinary, nullable=False),
)

# By number only: whoever reads a run knows it.
agent = Table(
    "agent",
    metadata,
    Column("number", _Key, primary_key=True, autoincrement=False),
    Column("agent_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

backlog = Table(
    "backlog",
    metadata,
    # By seq alone: open runs are joined with it, and rows leave by it.
    Column("seq", _Key, primary_key=True, autoincrement=False),
    # The name of a lane: of a queue, and of what else its runs need of an agent.
    Column("queue", Text, nullable=False),
    Column("priority", Integer, nullable=False),
)

# The next page of one lane and priority, and their counts.
Index(None, backlog.c.queue, backlog.c.priority, backlog.c.seq)

cache_entry = Table(
    "cache_entry",
    metadata,
    Column("cache_key", Text, primary_key=True),
    Column("run_seq", BigInteger, nullable=False),
    Column("expires_us", BigInteger),
    # What the run's row said, from when on that is gone; NULL before.
    Column("run_id", LargeBinary),
    Column("template_id", Integer),
    Column("ended_us", BigInteger),
    Column("result", LargeBinary),
    Column("outcome", LargeBinary),
    sqlite_with_rowid=False,
)

run_log = Table(
    "run_log",
    metadata,
    Column("log_id", _Key, primary_key=True, autoincrement=True),
    Column("run_seq", BigInteger, nullable=False),
    Column("flow_seq", BigInteger),
    Column("at_us", BigInteger, nullable=False),
    Column("level", Integer, nullable=False),
    Column("logger", Text, nullable=False),
    Column("message", Text, nullable=False),
)

# The log of one run, page by page.
Index(None, run_log.c.run_seq, run_log.c.log_id)
# The log of everything inside a flow run, page by page.
Index(None, run_log.c.flow_seq, run_log.c.log_id)

# What the blob store has, as far as something in the database names it: the bytes are in the store, not here.
# What nobody names has no row.
blob = Table(
    "blob",
    metadata,
    Column("name", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    # XXH3 of the content, as a signed number; 0 where the name says what the content is.
    Column("checksum", BigInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    # Of one that is doomed: from when on its bytes may go.
    Column("expires_us", BigInteger),
    # A `BlobState`.
    Column("state", SmallInteger, nullable=False, server_default=text("0")),
    sqlite_with_rowid=False,
)

# Those that may go, or are going: they are few, and looked for all the time.
ARE_LEAVING: Final = blob.c.state > literal_column("0")
Index("ix_blob_leaving", blob.c.state, blob.c.name, sqlite_where=ARE_LEAVING, postgresql_where=ARE_LEAVING)

blob_ref = Table(
    "blob_ref",
    metadata,
    # What somebody refers to: by who refers to it.
    Column("kind", SmallInteger, primary_key=True, autoincrement=False),
    # The number of a run: also of a cache entry, which is named by the run that made it, and by its key.
    Column("holder", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    Column("cache_key", Text),
    sqlite_with_rowid=False,
)

# Who refers to a blob.
Index(None, blob_ref.c.name)

# Ids of runs that are gone, which are refused for a while as if they were there; see `retention.gone_ids`.
gone_ids = Table(
    "gone_ids",
    metadata,
    # The second half of an id, and the numbers in the first one.
    Column("tail", LargeBinary, primary_key=True),
    Column("first", BigInteger, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
    Column("gone_us", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# Code that came inside other messages, and blobs of before there was a store of its own.
code_blob = Table(
    "code_blob",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("size", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

code_blob_part = Table(
    "code_blob_part",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

# Sorted by code points in both databases, whatever the order of the database's own language is: pages go by
# it.
_Name = Text().with_variant(Text(collation="C"), "postgresql")

document = Table(
    "document",
    metadata,
    Column("kind", _Name, primary_key=True),
    Column("name", _Name, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
)

commit_log = Table(
    "commit_log",
    metadata,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("generation", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("low_seq", BigInteger),
    sqlite_with_rowid=False,
)

log_mark = Table(
    "log_mark",
    metadata,
    Column("session_id", LargeBinary, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)

shard_owner = Table(
    "shard_owner",
    metadata,
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("owner_id", Text, nullable=False),
    Column("backend_pid", Integer, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("expires_us", BigInteger, nullable=False),
    Column("low_seq", BigInteger, nullable=False),
    Column("database_id", Text),
    # The highest number of a run that was the newest one when it was removed; NULL for none.
    Column("last_gone_seq", BigInteger),
)
