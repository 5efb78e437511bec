"""Sending events. Not served yet, see `taskyard.events`."""

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from taskyard._missing_features import absent_names
from taskyard._prefect_names import reasons
from taskyard._refused_calls import refuse
from taskyard.events.schemas.events import Event

__all__ = ["emit_event"]


def emit_event(
    event: str,
    resource: dict[str, str],
    occurred: datetime | None = None,
    related: list[dict[str, str]] | list[Any] | None = None,
    payload: dict[str, Any] | None = None,
    id: UUID | None = None,
    follows: Event | None = None,
    **options: Any,
) -> Event | None:
    """Send an event.

    Args:
        event: What happened, as in ``"order.shipped"``.
        resource: What it happened to, as labels.
        occurred: When; now when left out.
        related: What else had a part in it.
        payload: Anything else.
        id: The event's own.
        follows: An event that came before it.
        **options: Further ones of Prefect's.

    Raises:
        NotSupported: Always; the control plane takes no events yet, and nobody would hear of this one.
    """
    refuse(f"taskyard.events.emit_event({event!r}, ...)", reasons.EVENTS)


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
