"""Blobs are rows, and their bytes are in a store; runs that are gone, and cache entries that outlive them.

No row is rewritten. What the database holds of bytes stays where it is, under another name.
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | None = None
depends_on: str | None = None

LEAVING = sa.text("state > 0")


def upgrade() -> None:
    """Apply."""
    for table in ("blob", "blob_part"):
        _rename(table, f"code_{table}")
    op.create_table(
        "blob",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("checksum", sa.BigInteger(), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("expires_us", sa.BigInteger()),
        sa.Column("state", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_blob")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_blob_leaving", "blob", ["state", "name"], sqlite_where=LEAVING, postgresql_where=LEAVING
    )
    op.create_table(
        "blob_ref",
        sa.Column("kind", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("holder", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("cache_key", sa.Text()),
        sa.PrimaryKeyConstraint("kind", "holder", "name", name=op.f("pk_blob_ref")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_blob_ref_name"), "blob_ref", ["name"])
    op.create_table(
        "gone_ids",
        sa.Column("tail", sa.LargeBinary(), nullable=False),
        sa.Column("first", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("gone_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tail", "first", name=op.f("pk_gone_ids")),
        sqlite_with_rowid=False,
    )
    for column in _copies():
        op.add_column("cache_entry", column)
    op.add_column("shard_owner", sa.Column("last_gone_seq", sa.BigInteger()))


def downgrade() -> None:
    """Undo. What is only in the blob store is not found any more."""
    op.drop_column("shard_owner", "last_gone_seq")
    for column in reversed(_copies()):
        op.drop_column("cache_entry", column.name)
    for table in ("gone_ids", "blob_ref", "blob"):
        op.drop_table(table)
    for table in ("blob", "blob_part"):
        _rename(f"code_{table}", table)


def _copies() -> list[sa.Column[object]]:
    return [
        sa.Column("run_id", sa.LargeBinary()),
        sa.Column("template_id", sa.Integer()),
        sa.Column("ended_us", sa.BigInteger()),
        sa.Column("result", sa.LargeBinary()),
        sa.Column("outcome", sa.LargeBinary()),
    ]


def _rename(table: str, name: str) -> None:
    op.rename_table(table, name)
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER INDEX pk_{table} RENAME TO pk_{name}")
