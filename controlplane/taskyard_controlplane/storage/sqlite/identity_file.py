"""A small file beside a database that says which one belongs there, and how far it had come.

An empty file, an older copy, a database without its write-ahead log: to SQLite all of these are sound, and a
server that started on one would go on as if what was acknowledged had never been. So the owner notes, beside
the database, its identity and a commit that is in it. The note is always written after the commit it names:
whatever moment a crash comes at, the database has at least what the note says, and one that has less was
tampered with.

It is written when a server starts and ends, and every few seconds in between if anything was committed. So
what can go unnoticed are losses that reach back a few seconds only.
"""

import json
import logging
import os
from pathlib import Path
from typing import Any, Final

from taskyard_contract.errors import StorageUnavailable
from taskyard_contract.programs.durable_files import sync_directory
from taskyard_contract.programs.private_files import opener
from taskyard_controlplane.storage.errors import DatabaseLost
from taskyard_controlplane.storage.ownership import Identity

SUFFIX: Final = ".identity"
_NOTE: Final = "Says which database belongs here; see 'Lost databases' in docs/operations.md."

_log = logging.getLogger(__name__)


class IdentityFile:
    """What is noted beside one database."""

    def __init__(self, database: Path) -> None:
        """Read nothing yet."""
        self._database = database
        self._path = database.with_name(database.name + SUFFIX)
        self._in_trouble = False

    def check_there(self) -> None:
        """Make sure that there is a database, if there should be. To be called before SQLite makes one.

        Raises:
            DatabaseLost: It is gone, or empty.
            StorageUnavailable: The note cannot be read.
        """
        noted = self._read()
        if noted is None:
            return
        try:
            size = self._database.stat().st_size
        except FileNotFoundError:
            raise self._lost(f"the database {self._database} is gone") from None
        except OSError as error:
            raise StorageUnavailable(f"cannot read {self._database}: {error.strerror}") from error
        if not size:
            # SQLite would take this for a new database, and remove a log that may have everything.
            raise self._lost(f"the database {self._database} is empty")

    def check(self, found: Identity | None) -> None:
        """Make sure that a database is the one that belongs here, with all it had.

        Raises:
            DatabaseLost: It is another one, or lacks commits.
            StorageUnavailable: The note cannot be read.
        """
        noted = self._read()
        if noted is None:
            return
        if found is None:
            raise self._lost(f"the database {self._database} is empty")
        if found.database_id != noted.database_id:
            raise self._lost(f"the database {self._database} is another one than was here")
        if found.lacks(noted):
            raise self._lost(
                f"the database {self._database} lacks what was committed: it ends with commit {found.number} "
                f"of generation {found.generation}, and had commit {noted.number} of generation "
                f"{noted.generation}. Its write-ahead log ({self._database.name}-wal) is missing or damaged, "
                "or it is an older copy"
            )

    def write(self, identity: Identity) -> None:
        """Note an identity, whose commit is durable."""
        new = self._path.with_name(self._path.name + ".new")
        text = json.dumps({**identity._asdict(), "note": _NOTE}) + "\n"
        try:
            with open(new, "w", opener=opener) as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
            sync_directory(self._path.parent)
        except OSError as error:
            # The old note holds as well: it only knows less.
            if not self._in_trouble:
                _log.warning("cannot write %s: %s", self._path, error.strerror)
            self._in_trouble = True
        else:
            self._in_trouble = False

    def _read(self) -> Identity | None:
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise StorageUnavailable(f"cannot read {self._path}: {error}") from error
        try:
            return _parsed(json.loads(text))
        except (ValueError, KeyError, TypeError):
            raise self._lost(f"{self._path} says nothing that makes sense") from None

    def _lost(self, found: str) -> DatabaseLost:
        return DatabaseLost(
            f"{found}. Restore the database; or, to go on with what is there, remove {self._path} "
            "(what is missing is lost then)"
        )


def _parsed(document: dict[str, Any]) -> Identity:
    identity = Identity(document["database_id"], document["generation"], document["number"])
    if not (isinstance(identity.database_id, str) and identity.generation >= 0 and identity.number >= 0):
        raise ValueError
    return identity
