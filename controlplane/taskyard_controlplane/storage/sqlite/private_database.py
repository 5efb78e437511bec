"""The files of a database are for the user of its server alone: arguments and results are in them."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from taskyard_contract.errors import StorageUnavailable
from taskyard_contract.programs.private_files import NotOurs, close_to_others, opener

_COMPANIONS: Final = ("", "-wal", "-shm", "-journal")
"""What SQLite keeps of a database. It makes all but the first itself, with the rights of the first."""


def close_database(database: Path) -> None:
    """See to it that the files of a database, which is made if need be, are for this user alone.

    To be called under its lock: a process that opens and closes a file lets go of all the locks that SQLite
    has on it.

    Raises:
        StorageUnavailable: They belong to another user, or cannot be made.
    """
    try:
        real = database.resolve()  # SQLite keeps the others beside the file that a link leads to
        with suppress(FileExistsError):
            os.close(opener(str(real), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
        for companion in _COMPANIONS:
            with suppress(FileNotFoundError):
                close_to_others(real.with_name(real.name + companion))
    except NotOurs as error:
        raise StorageUnavailable(f"{error}; give this server a database of its own") from None
    except OSError as error:
        raise StorageUnavailable(f"cannot open the database {database}: {error.strerror}") from error
