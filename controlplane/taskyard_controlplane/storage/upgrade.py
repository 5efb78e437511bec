"""Brings a database's schema to what this release expects.

It happens in the transaction in which this process becomes the owner. So an upgrade that fails leaves the
database as it was, and while an owner of the release before is alive nothing changes under it; a newcomer
that is refused has changed nothing. An owner that has been replaced does not come back, because it does not
know the new schema. Migrations change the catalogue and do not rewrite the table of runs, which may have
many millions of rows; they may read it, for an index. One had to, before the contract was frozen (0006).

An empty database gets the tables directly and the newest revision noted: importing alembic would cost a
first start a quarter of a second. Anything older is migrated.
Invariant: a database of a revision this release does not know is left untouched.
"""

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text

from taskyard_controlplane.storage.errors import SchemaNotUnderstood
from taskyard_controlplane.storage.schema import REVISION, metadata

MIGRATIONS: Final = Path(__file__).parent / "migrations"


def prepare_schema(connection: Connection, where: str) -> None:
    """Create or upgrade the tables, inside the transaction the connection is in.

    Args:
        connection: Where to do it; the caller commits.
        where: The database, as its URL without password.

    Raises:
        SchemaNotUnderstood: The database belongs to a newer release or to something else.
    """
    revision = recorded_revision(connection)
    if revision == REVISION:
        return
    if revision is not None:
        _migrate(connection, revision, where)
    elif inspect(connection).get_table_names():
        raise SchemaNotUnderstood(
            f"the database {where} holds tables of something else; give Taskyard a database of its own"
        )
    else:
        _create(connection)


def recorded_revision(connection: Connection) -> str | None:
    """Return the revision noted in the database, None when there is none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _create(connection: Connection) -> None:
    metadata.create_all(connection, checkfirst=False)
    connection.execute(
        text(
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
            "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
        )
    )
    connection.execute(
        text("INSERT INTO alembic_version (version_num) VALUES (:revision)"), {"revision": REVISION}
    )


def _migrate(connection: Connection, revision: str, where: str) -> None:
    # Imported here because almost no start needs it.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        ScriptDirectory.from_config(config).get_revision(revision)
    except CommandError:
        raise SchemaNotUnderstood(
            f"the database {where} has schema {revision}, this release knows schemas up to {REVISION}; "
            "start the release that wrote it, or a newer one"
        ) from None
    command.upgrade(config, "head")
