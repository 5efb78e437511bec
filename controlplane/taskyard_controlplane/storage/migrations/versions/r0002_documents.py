"""Cold documents get a table, and the run that made a call is its caller in every word.

Renaming a column changes the catalogue only, in both databases, however many runs there are; the lock it
takes on PostgreSQL is held for that moment. Nobody else reads or writes then: the control plane upgrades
before it owns.
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Apply."""
    # In plain SQL, because alembic would copy the whole table on SQLite.
    op.execute("ALTER TABLE run RENAME COLUMN parent_id TO caller_id")
    name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.create_table(
        "document",
        sa.Column("kind", name, nullable=False),
        sa.Column("name", name, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", name=op.f("pk_document")),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("document")
    op.execute("ALTER TABLE run RENAME COLUMN caller_id TO parent_id")
