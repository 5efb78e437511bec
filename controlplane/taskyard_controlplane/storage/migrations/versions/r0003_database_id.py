"""A database says which one it is.

The value is given to it by the owner that upgrades it.
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None

_COLUMNS = "shard, owner_id, backend_pid, generation, expires_us, low_seq"


def upgrade() -> None:
    """Apply."""
    if op.get_bind().dialect.name != "sqlite":
        op.add_column("shard_owner", sa.Column("database_id", sa.Text()))
        return
    # SQLite appends to the text of a table, behind its constraints. The table has one row: it is made anew.
    op.rename_table("shard_owner", "former_shard_owner")
    op.create_table(
        "shard_owner",
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("backend_pid", sa.Integer(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("expires_us", sa.BigInteger(), nullable=False),
        sa.Column("low_seq", sa.BigInteger(), nullable=False),
        sa.Column("database_id", sa.Text()),
        sa.PrimaryKeyConstraint("shard", name=op.f("pk_shard_owner")),
    )
    op.execute(f"INSERT INTO shard_owner ({_COLUMNS}) SELECT {_COLUMNS} FROM former_shard_owner")
    op.drop_table("former_shard_owner")


def downgrade() -> None:
    """Undo."""
    op.drop_column("shard_owner", "database_id")
