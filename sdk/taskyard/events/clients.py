"""Clients that send events and listen to them. Not served yet, see `taskyard.events`."""

from typing import TYPE_CHECKING, Any

from taskyard._missing_features import absent_names
from taskyard._prefect_names import reasons
from taskyard._refused_calls import refuse

__all__ = ["get_events_client", "get_events_subscriber"]


def get_events_client(**options: Any) -> Any:
    """Return a client that sends events.

    Raises:
        NotSupported: Always; the control plane takes no events yet.
    """
    refuse("taskyard.events.get_events_client(...)", reasons.EVENTS)


def get_events_subscriber(filter: Any = None, **options: Any) -> Any:
    """Return what listens to events.

    Raises:
        NotSupported: Always; the control plane takes no events yet.
    """
    refuse("taskyard.events.get_events_subscriber(...)", reasons.EVENTS)


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
