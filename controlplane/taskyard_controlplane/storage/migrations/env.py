"""Runs the migrations on the connection `upgrade.py` hands over, inside its transaction."""

from alembic import context

from taskyard_controlplane.storage.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite cannot alter most things in place
)
with context.begin_transaction():
    context.run_migrations()
