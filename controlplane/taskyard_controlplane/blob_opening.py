"""Opens the store of blobs, where it was said to be or where it is when nobody says.

Invariant: only the owner of a database opens its store, and no store is opened for two databases.
"""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from taskyard_contract.blobs.giving_way import show_log
from taskyard_contract.programs.home_directory import home_directory
from taskyard_controlplane.blobs import create_blob_store
from taskyard_controlplane.blobs.interface import BlobStore
from taskyard_controlplane.blobs.places import Kind, Place, directory
from taskyard_controlplane.blobs.stamps import OtherDatabase
from taskyard_controlplane.settings import InvalidSettings, Settings
from taskyard_controlplane.storage.engine import beside, log_beside, parse_url

SHORT_ID: Final = 16
"""So much of the identity of a database is in the name of a directory."""
IN_MEMORY: Final = "in memory"
"""What a database is called that is another one in each process, and has left nothing that is needed."""

_log = logging.getLogger(__name__)


def open_blob_store(settings: Settings, database_id: str, temporary: Callable[[], Path]) -> BlobStore:
    """Open the store of a database that this process owns. Blocks.

    Args:
        settings: Say where it is, or which database it belongs to.
        database_id: What the database is called, wherever it is.
        temporary: Makes a directory that ends with this process.

    Raises:
        InvalidSettings: Nobody can keep blobs there.
        HomeUnusable: They belong into the home directory, and there is none.
        StorageUnavailable: The store cannot be used, or has the blobs of another database.
    """
    store = _opened_where_it_is(settings, database_id, temporary)
    if store.directory is not None:
        with suppress(OSError):  # without it large files do not give way, and are stored all the same
            show_log(Path(store.directory.path), log_beside(settings.database.url))
    return store


def _opened_where_it_is(settings: Settings, database_id: str, temporary: Callable[[], Path]) -> BlobStore:
    place, path = settings.blob_place, beside(settings.database.url)
    in_memory = path is None and parse_url(settings.database.url).dialect == "sqlite"
    if in_memory:
        database_id = IN_MEMORY
    if place is not None:
        return _opened(place, database_id)
    if path is not None:
        return _beside(path, database_id)
    if in_memory:
        return _opened(directory(temporary()), database_id)
    return _opened(directory(home_directory(os.environ) / f"blobs-{database_id[:SHORT_ID]}"), database_id)


def _beside(path: Path, database_id: str) -> BlobStore:
    """Open the directory beside a database; another one if a database has left its blobs there.

    That is what somebody who removes a database, and lets a server begin a new one, did not think of.
    """
    try:
        return _opened(directory(path), database_id)
    except OtherDatabase as error:
        other = path.with_name(f"{path.name}-{database_id[:SHORT_ID]}")
        _log.warning("%s; until then blobs are kept in %s", error, other)
        return _opened(directory(other), database_id)


def _opened(place: Place, database_id: str) -> BlobStore:
    try:
        store = create_blob_store(place)
    except ValueError as error:
        raise InvalidSettings(f"{place.url} cannot be used for blobs: {error}") from None
    try:
        store.open(database_id)
    except BaseException:
        store.close()
        raise
    if place.kind is Kind.MEMORY:
        _log.warning("blobs are kept in memory: they are lost when this server ends")
    return store
