"""What a database can be refused for, or refuse, beyond the errors clients see."""

from taskyard_contract.errors import InvalidRequest, TaskyardError


class DatabaseInUse(TaskyardError):
    """Another live process owns the database; stop it first, or give this one another database."""


class SchemaNotUnderstood(TaskyardError):
    """The database was written by a newer release, or by another program; upgrade Taskyard."""


class RowsRefused(InvalidRequest):
    """A value does not fit into the database, whatever its state; nothing was written."""
