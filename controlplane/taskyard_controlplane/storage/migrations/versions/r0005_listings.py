"""Listings find what ended badly, and flow runs, without reading all runs.

The table of runs is read twice and not written. On PostgreSQL making the index keeps others from writing to
it until the end of the transaction: nobody does, because the control plane upgrades before it owns, and
readers go on. What reads from it for long, a backup for example, is not waited for either.
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | None = None
depends_on: str | None = None

_FLOWS = sa.text("kind = 2")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "ended_badly",
        sa.Column("state", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("flow_seq", sa.BigInteger()),
        sa.PrimaryKeyConstraint("state", "kind", "seq", name=op.f("pk_ended_badly")),
        sqlite_with_rowid=False,
    )
    # In the order of the key, and before the other index is made: the faster way, if there are many.
    op.execute(
        "INSERT INTO ended_badly (state, kind, seq, flow_seq)"
        " SELECT state, kind, seq, flow_seq FROM run WHERE state BETWEEN 11 AND 14 ORDER BY state, kind, seq"
    )
    op.create_index(op.f("ix_ended_badly_flow_seq_state_seq"), "ended_badly", ["flow_seq", "state", "seq"])
    op.create_index("ix_run_flows", "run", ["seq"], sqlite_where=_FLOWS, postgresql_where=_FLOWS)


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_run_flows", "run")
    op.drop_table("ended_badly")
