"""What tasks and flows inherit of the options about results: from the flow around them, and from settings.

A task that inherits something is called as another task, with these options, so that neither templates nor
workers know of inheriting. Invariant: where nothing is said of results, nobody inherits and nothing is asked.
"""

from typing import Any, NamedTuple

from taskyard import settings
from taskyard._engine.results.choosing import checked_storage, storage_of
from taskyard._engine.results.storages import Storage
from taskyard.serializers import Serializer, serializer_of


class SameSerializer:
    """A serializer that is equal to itself alone: those of the user's need not have a hash."""

    __slots__ = ("serializer",)

    def __init__(self, serializer: Serializer) -> None:
        self.serializer = serializer

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SameSerializer) and self.serializer is other.serializer

    def __hash__(self) -> int:
        return id(self.serializer)


class Inherited(NamedTuple):
    """Options of a flow, or of settings, for all that is called in its place."""

    persist: bool | None = None
    persist_tasks: bool | None = None
    """What tasks are told instead."""
    storage: Storage | None = None
    serializer: SameSerializer | None = None

    def options_for(self, own: Any) -> dict[str, Any]:
        """Return the options that a task, or a flow, with settings of its own gets beside them."""
        persist = own.persists
        gained: dict[str, Any] = {}
        if persist is None:
            persist = self.persist if own.kind == "flow" or self.persist_tasks is None else self.persist_tasks
            if persist is not None:
                gained["persist_result"] = persist
        if not persist or own.wire_result_encoding:
            return gained
        if own.storing is None and self.storage is not None:
            gained["result_storage"] = self.storage.given
        if own.result_serializer is None and self.serializer is not None:
            gained["result_serializer"] = self.serializer.serializer
        return gained


def inherited_from_settings() -> Inherited | None:
    """Return what the environment says; None when that is nothing.

    Raises:
        ValueError: It says something that cannot be.
    """
    said = settings.results()
    if said is None:
        return None
    return _made(said.persist, said.persist_tasks, said.storage or None, said.serializer or None)


def inherited_from(own: Any, outer: Inherited | None) -> Inherited:
    """Return what is inherited in a flow whose settings say something, beside what is inherited around it."""
    base = outer or Inherited()
    inner = _made(own.persists, base.persist_tasks, own.result_storage, own.result_serializer)
    return inner._replace(
        storage=inner.storage or base.storage,
        serializer=inner.serializer or base.serializer,
    )


def _made(persist: bool | None, persist_tasks: bool | None, storage: Any, serializer: Any) -> Inherited:
    kept = None if storage is None else storage_of(checked_storage(storage))
    written = None if serializer is None else SameSerializer(serializer_of(serializer))
    return Inherited(persist, persist_tasks, kept, written)
