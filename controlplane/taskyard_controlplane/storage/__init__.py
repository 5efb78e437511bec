"""The database of the control plane, behind `interface.Store` and `interface.Reader`.

Only this package knows SQL. Importing it is cheap; SQLAlchemy and the drivers come with the first store.
"""

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskyard_controlplane.storage.interface import Reader, Store


def create_store(url: str, clock: Callable[[], float] = monotonic) -> "Store":
    """Make the writer of a database; `open` it next.

    Args:
        url: `sqlite:///PATH`, `sqlite://` (in memory), `postgresql+psycopg://...` or `postgresql://...`.
        clock: Seconds that never jump; says when leases are renewed and checkpoints due.

    Raises:
        ValueError: The URL is none of these.
    """
    from taskyard_controlplane.storage.engine import parse_url

    target = parse_url(url)
    if target.dialect == "postgresql":
        from taskyard_controlplane.storage.postgres.store import PostgresStore

        return PostgresStore(target, clock)
    from taskyard_controlplane.storage.sqlite.store import SqliteStore

    return SqliteStore(target, clock)


def create_reader(url: str) -> "Reader":
    """Make a reader of a database that a store has opened before.

    Args:
        url: As for `create_store`.

    Raises:
        ValueError: The URL is none of these.
    """
    from taskyard_controlplane.storage.engine import parse_url
    from taskyard_controlplane.storage.queries import DatabaseReader

    return DatabaseReader(parse_url(url))
