"""Ended runs say where they ran.

No row is rewritten: a column without a value takes no room, on either database. Of runs that ended before,
nobody knows it.
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "agent",
        sa.Column(
            "number",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("agent_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_agent")),
    )
    op.add_column("run", sa.Column("agent_number", sa.Integer()))


def downgrade() -> None:
    """Undo."""
    op.drop_column("run", "agent_number")
    op.drop_table("agent")
