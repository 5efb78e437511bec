"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_IS_A_STATE = "state BETWEEN 1 AND 7 OR state BETWEEN 10 AND 14"


def upgrade() -> None:
    """Apply."""
    _create_runs()
    _create_what_runs_need()
    _create_queues()
    _create_logs()
    _create_blobs()
    _create_ownership()


def downgrade() -> None:
    """Undo."""
    for table in (
        "shard_owner",
        "commit_log",
        "blob_part",
        "blob",
        "run_log",
        "cache_entry",
        "backlog",
        "dispatch",
        "run_event",
        "template",
        "run",
    ):
        op.drop_table(table)


def _create_runs() -> None:
    op.create_table(
        "run",
        sa.Column("seq", _KEY, autoincrement=False, nullable=False),
        sa.Column("run_id", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("reason", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("infra_retries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("template_id", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("flow_seq", sa.BigInteger()),
        sa.Column("epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("submitted_us", sa.BigInteger(), nullable=False),
        sa.Column("started_us", sa.BigInteger()),
        sa.Column("ended_us", sa.BigInteger()),
        sa.Column("parent_id", sa.LargeBinary()),
        sa.Column("session_id", sa.LargeBinary()),
        sa.Column("name", sa.Text()),
        sa.Column("cache_key", sa.Text()),
        sa.Column("upstream", sa.LargeBinary()),
        sa.Column("args_blob", sa.LargeBinary()),
        sa.Column("args", sa.LargeBinary()),
        sa.Column("result", sa.LargeBinary()),
        sa.Column("outcome", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_run")),
        sa.UniqueConstraint("run_id", name=op.f("uq_run_run_id")),
        sa.CheckConstraint(_IS_A_STATE, name=op.f("ck_run_state")),
    )
    op.create_index(op.f("ix_run_flow_seq_seq"), "run", ["flow_seq", "seq"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE run SET (fillfactor = 45, autovacuum_vacuum_scale_factor = 0.02)")


def _create_what_runs_need() -> None:
    op.create_table(
        "template",
        sa.Column("template_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("definition", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("template_id", name=op.f("pk_template")),
        sa.UniqueConstraint("digest", name=op.f("uq_template_digest")),
    )
    op.create_table(
        "run_event",
        sa.Column("event_id", _KEY, autoincrement=True, nullable=False),
        sa.Column("run_seq", sa.BigInteger(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("reason", sa.SmallInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("infra_retries", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("due_us", sa.BigInteger()),
        sa.Column("state_name", sa.Text()),
        sa.Column("message", sa.Text()),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_run_event")),
        sa.CheckConstraint(_IS_A_STATE, name=op.f("ck_run_event_state")),
    )
    op.create_index(op.f("ix_run_event_run_seq"), "run_event", ["run_seq"])


def _create_queues() -> None:
    op.create_table(
        "dispatch",
        sa.Column("number", _KEY, autoincrement=False, nullable=False),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.LargeBinary(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("entries", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_dispatch")),
    )
    op.create_table(
        "backlog",
        sa.Column("seq", _KEY, autoincrement=False, nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_backlog")),
    )
    op.create_index(op.f("ix_backlog_queue_priority_seq"), "backlog", ["queue", "priority", "seq"])
    op.create_table(
        "cache_entry",
        sa.Column("cache_key", sa.Text(), nullable=False),
        sa.Column("run_seq", sa.BigInteger(), nullable=False),
        sa.Column("expires_us", sa.BigInteger()),
        sa.PrimaryKeyConstraint("cache_key", name=op.f("pk_cache_entry")),
        sqlite_with_rowid=False,
    )


def _create_logs() -> None:
    op.create_table(
        "run_log",
        sa.Column("log_id", _KEY, autoincrement=True, nullable=False),
        sa.Column("run_seq", sa.BigInteger(), nullable=False),
        sa.Column("flow_seq", sa.BigInteger()),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("logger", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("log_id", name=op.f("pk_run_log")),
    )
    op.create_index(op.f("ix_run_log_flow_seq_log_id"), "run_log", ["flow_seq", "log_id"])
    op.create_index(op.f("ix_run_log_run_seq_log_id"), "run_log", ["run_seq", "log_id"])


def _create_blobs() -> None:
    op.create_table(
        "blob",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_blob")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "blob_part",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("part", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("digest", "part", name=op.f("pk_blob_part")),
    )


def _create_ownership() -> None:
    op.create_table(
        "commit_log",
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("generation", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("low_seq", sa.BigInteger()),
        sa.PrimaryKeyConstraint("shard", "generation", "number", name=op.f("pk_commit_log")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "shard_owner",
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("backend_pid", sa.Integer(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=False),
        sa.Column("low_seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("shard", name=op.f("pk_shard_owner")),
    )
