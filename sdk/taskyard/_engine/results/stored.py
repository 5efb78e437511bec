"""Results that are elsewhere: what travels instead of them, and how it becomes the value again.

A run whose result goes into storage returns a `StoredResult`. Pickled, it is a call of a durable name with
plain values, and unpickling that call reads the record: so whoever reads results (futures, workers with the
arguments of the next run, states of recorded runs) gets the value and need not know of any of this.

Invariant: what a reader gets is what the serializer makes of the bytes that were written, never the object
that was given to it.
"""

from typing import Any

from taskyard import _durable_names
from taskyard._engine.results.choosing import storage_of
from taskyard._engine.results.records import ResultRecord, damaged
from taskyard._engine.results.storages import Storage
from taskyard.exceptions import MissingResult
from taskyard.serializers import Serializer, from_description


class StoredResult:
    """A value that is in a record, or in bytes that its serializer wrote."""

    __slots__ = ("_body", "_key", "_serializer", "_storage", "_writer")

    def __init__(
        self,
        serializer: Serializer,
        *,
        storage: Storage | None,
        key: str = "",
        body: bytes = b"",
        writer: str = "",
    ) -> None:
        """Refer to a record, or hold what a serializer wrote where the control plane keeps it.

        Args:
            serializer: What wrote it.
            storage: Where the record is; None when `body` is all.
            key: The key of the record.
            body: What was written, without a record.
            writer: Who wrote it, for people who look for it.
        """
        self._serializer = serializer
        self._storage = storage
        self._key = key
        self._body = body
        self._writer = writer

    def value(self) -> Any:
        """Read the value.

        Raises:
            MissingResult: The record is not there.
            DamagedResult: It is no record, or not the one that was written.
            ResultStorageError: The storage cannot be used.
        """
        if self._storage is None:
            return self._serializer.loads(self._body)
        return read_record(self._storage, self._key, self._serializer, self._writer).result

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as a call that returns the value."""
        place = None if self._storage is None else self._storage.given
        what = self._body if self._storage is None else self._key
        return _durable_names.stored_result, (place, what, _said(self._serializer), self._writer)


def value_of(place: Any, what: Any, serializer: Any, writer: str = "") -> Any:
    """Return the value that `StoredResult.__reduce__` took apart: where pickles arrive."""
    known = from_description(serializer) if isinstance(serializer, dict) else serializer
    if place is None:
        return known.loads(what)
    return StoredResult(known, storage=storage_of(place), key=what, writer=writer).value()


def read_record(
    storage: Storage, key: str, serializer: Serializer | None = None, writer: str = ""
) -> ResultRecord[Any]:
    """Read a record.

    Raises:
        MissingResult: It is not there.
        DamagedResult: It is no record, or not as it was written.
        ResultStorageError: The storage cannot be used.
    """
    where = storage.place(key)
    try:
        data = storage.read(key)
    except FileNotFoundError as error:
        by = f" It was written by {writer}, whose files may not be those of this machine." if writer else ""
        raise MissingResult(
            f"there is no result at {where}: it was deleted, or this process looks at another storage.{by} "
            "Run what made it again, or choose a result_storage that all machines share"
        ) from error
    try:
        return ResultRecord.deserialize(data, serializer, where)
    except (EOFError, ValueError, OSError) as error:  # of the serializer: what it is given is as was written
        raise damaged(where, f"{type(error).__name__}: {error}") from error


def _said(serializer: Serializer) -> Any:
    """Return what pickles hold of a serializer: a description, or the object where it has more than that."""
    said = serializer.described()
    try:
        if from_description(said) == serializer and type(serializer).__module__ == "taskyard.serializers":
            return said
    except ValueError:  # it is made of one that is not known everywhere
        pass
    return serializer
