"""What opening a database can be refused for, beyond the errors clients see."""

from taskyard_contract.errors import TaskyardError


class DatabaseInUse(TaskyardError):
    """Another live process owns the database; stop it first, or give this one another database."""


class SchemaNotUnderstood(TaskyardError):
    """The database was written by a newer release, or by another program; upgrade Taskyard."""
