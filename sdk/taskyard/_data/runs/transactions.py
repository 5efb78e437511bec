"""What can be said of a transaction: how it commits, how it is kept apart from others, and how far it is."""

from enum import StrEnum

from taskyard._durable_names import public


@public("taskyard.transactions")
class IsolationLevel(StrEnum):
    """How much transactions with the same key know of each other."""

    READ_COMMITTED = "READ_COMMITTED"
    """A transaction sees what was committed before it began; two at once both do their work."""
    SERIALIZABLE = "SERIALIZABLE"
    """A transaction begins when no other one with its key is open; needs a lock manager."""


@public("taskyard.transactions")
class CommitMode(StrEnum):
    """When a transaction commits."""

    EAGER = "EAGER"
    """At its own end, whatever becomes of the one around it."""
    LAZY = "LAZY"
    """At the end of the outermost transaction around it."""
    OFF = "OFF"
    """Only when `commit` is called: without that it rolls back."""


@public("taskyard.transactions")
class TransactionState(StrEnum):
    """How far a transaction is."""

    PENDING = "PENDING"
    """It has not begun."""
    ACTIVE = "ACTIVE"
    """It has begun, and nothing was staged."""
    STAGED = "STAGED"
    """Its work is done, and can still be undone."""
    COMMITTED = "COMMITTED"
    """Its work stays."""
    ROLLED_BACK = "ROLLED_BACK"
    """Its work was undone, as far as there are hooks that do so."""
