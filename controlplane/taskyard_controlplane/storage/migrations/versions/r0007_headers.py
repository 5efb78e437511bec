"""Runs have headers, which are passed on to their workers.

No row is rewritten: a column without a value takes no room, on either database.
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Apply."""
    op.add_column("run", sa.Column("headers", sa.LargeBinary()))


def downgrade() -> None:
    """Undo."""
    op.drop_column("run", "headers")
