"""A database says which one it is.

The value is given to it by the owner that upgrades it.
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Apply."""
    op.add_column("shard_owner", sa.Column("database_id", sa.Text()))


def downgrade() -> None:
    """Undo."""
    op.drop_column("shard_owner", "database_id")
