"""What a database can be refused for, or refuse, beyond the errors clients see."""

from taskyard_contract.errors import InvalidRequest, TaskyardError


class DatabaseInUse(TaskyardError):
    """Another live process owns the database; stop it first, or give this one another database."""


class SchemaNotUnderstood(TaskyardError):
    """The database was written by a newer release, or by another program; upgrade Taskyard."""


class RowsRefused(InvalidRequest):
    """A value does not fit into the database, whatever its state; nothing was written."""


class DatabaseLost(TaskyardError):
    """The database is not the one that was written before: deleted, replaced, or without its newest part.

    Nothing more may be acknowledged on it; somebody has to restore it, or to say that what is there will do.
    """
