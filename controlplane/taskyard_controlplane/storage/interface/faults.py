"""What a store finds out that no repetition mends."""

from taskyard_contract.errors import TaskyardError


class DatabaseLost(TaskyardError):
    """The database is not the one that was written before: deleted, replaced, or without its newest part.

    Nothing more may be acknowledged on it; somebody has to restore it, or to say that what is there will do.
    """
