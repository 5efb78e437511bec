"""Whose blobs a store has: those of one database. To another one all of them would be orphans."""

from typing import Final

from taskyard_contract.errors import StorageUnavailable

STAMP: Final = ".database"
"""The name under which a store keeps the identity of its database."""


class OtherDatabase(StorageUnavailable):
    """A store has the blobs of another database."""


def refuse_other(database_id: str, found: bytes, where: str, stamp: str) -> None:
    """Compare the identity of a database with the one that a store has.

    Raises:
        OtherDatabase: They differ.
    """
    if found != database_id.encode():
        raise OtherDatabase(
            f"{where} has the blobs of another database ({found[:64].decode(errors='replace')!r}, not "
            f"{database_id!r}); give another place with --blobs, or remove {stamp} if that database is gone "
            "and nobody needs what it had"
        )
