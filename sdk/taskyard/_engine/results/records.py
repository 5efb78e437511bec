"""Records: a value as its serializer wrote it, behind a line of JSON that says what it is.

The line comes first, so that whoever only wants to know whether a record is still good reads a few bytes of
it, and so that people can look into one with `head -1`. What follows it is the value and nothing else.

Invariant: a record that is torn, or was changed, is found out before its value is decoded.
"""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeVar

from xxhash import xxh3_64_hexdigest

from taskyard._durable_names import public
from taskyard._engine.results.storages import HEAD_BYTES
from taskyard.exceptions import DamagedResult
from taskyard.serializers import PickleSerializer, Serializer, from_description
from taskyard_contract.versions import VERSION

R = TypeVar("R")

FORMAT: Final = 1
_MARK: Final = "taskyard_result"


@public("taskyard.results")
@dataclass(kw_only=True)
class ResultRecordMetadata:
    """What a record says of itself."""

    storage_key: str | None = None
    """Where it was written."""
    expiration: datetime | None = None
    """From when on it stands for no other run; it can still be read."""
    serializer: Serializer = field(default_factory=PickleSerializer)
    """What wrote the value."""
    version: str = VERSION
    """The release of Taskyard that wrote it."""
    cache_key: str | None = None
    """The cache key of the run that wrote it."""
    digest: str = ""
    """XXH3 of the value as it was written."""
    size: int = 0
    """Its bytes."""
    transaction: str = ""
    """The transaction whose commit wrote it, where others may have to know whether it did."""

    def dump_bytes(self) -> bytes:
        """Write it, in a line."""
        said = {
            _MARK: FORMAT,
            "storage_key": self.storage_key,
            "expiration": self.expiration and self.expiration.astimezone(UTC).isoformat(),
            "serializer": self.serializer.described(),
            "version": self.version,
            "cache_key": self.cache_key,
            "digest": self.digest,
            "size": self.size,
        }
        if self.transaction:
            said["transaction"] = self.transaction
        return json.dumps(said).encode() + b"\n"

    @classmethod
    def load_bytes(cls, data: bytes, serializer: Serializer | None = None, where: str = "") -> "Any":
        """Read it from the beginning of a record.

        Args:
            data: The record, or its beginning.
            serializer: What is known to have written it; without it, what the record says.
            where: The place of the record, for messages.

        Raises:
            DamagedResult: It is no record, or its serializer is not known here.
        """
        try:
            said = json.loads(data.partition(b"\n")[0])
            if said[_MARK] != FORMAT:
                raise ValueError(f"it has the format {said[_MARK]!r}, known is {FORMAT}")
            own = said["serializer"]
            if serializer is not None and serializer.type != own["type"]:
                raise ValueError(f"it was written by the serializer '{own['type']}', not '{serializer.type}'")
            expiration = said["expiration"]
            return cls(
                storage_key=said["storage_key"],
                expiration=datetime.fromisoformat(expiration) if expiration else None,
                serializer=serializer or from_description(own),
                version=str(said["version"]),
                cache_key=said["cache_key"],
                digest=str(said["digest"]),
                size=int(said["size"]),
                transaction=str(said.get("transaction", "")),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise damaged(where, error) from error

    def is_expired(self, now: datetime) -> bool:
        """Say whether it stands for no other run any more."""
        return self.expiration is not None and self.expiration <= now


@public("taskyard.results")
@dataclass(kw_only=True)
class ResultRecord(Generic[R]):
    """A value, and what is said of it."""

    metadata: ResultRecordMetadata
    result: R

    @property
    def expiration(self) -> datetime | None:
        """From when on it stands for no other run."""
        return self.metadata.expiration

    @property
    def serializer(self) -> Serializer:
        """What writes the value."""
        return self.metadata.serializer

    def serialize(self) -> bytes:
        """Write it; what the metadata says of the bytes is set by that."""
        body = self.serializer.dumps(self.result)
        if not isinstance(body, (bytes, bytearray, memoryview)):
            raise TypeError(f"serializer '{self.serializer.type}' wrote a {type(body).__name__}, no bytes")
        return with_metadata(self.metadata, bytes(body))

    @classmethod
    def deserialize(
        cls, data: bytes, serializer: Serializer | None = None, where: str = ""
    ) -> "ResultRecord[Any]":
        """Read one.

        Args:
            data: The bytes.
            serializer: What is known to have written it; without it, what the record says.
            where: Its place, for messages.

        Raises:
            DamagedResult: It is no record, or not as it was written.
        """
        metadata = ResultRecordMetadata.load_bytes(data, serializer, where)
        body = data[data.index(b"\n") + 1 :]
        if len(body) != metadata.size or xxh3_64_hexdigest(body) != metadata.digest:
            raise damaged(where, f"it has {len(body)} bytes of {metadata.size}, or others than were written")
        return cls(metadata=metadata, result=metadata.serializer.loads(body))


def with_metadata(metadata: ResultRecordMetadata, body: bytes) -> bytes:
    """Return a record of a value that was written."""
    metadata.digest, metadata.size = xxh3_64_hexdigest(body), len(body)
    head = metadata.dump_bytes()
    if len(head) > HEAD_BYTES:
        raise ValueError(f"what the record says of itself takes {len(head)} bytes, at most {HEAD_BYTES}")
    return head + body


def expires(lifetime: timedelta | None, now: datetime) -> datetime | None:
    """Return when a record expires that is written now."""
    try:
        return now + lifetime if lifetime is not None else None
    except OverflowError:  # never
        return None


def damaged(where: str, why: object) -> DamagedResult:
    """Say that something is no record."""
    return DamagedResult(
        f"the result at {where or 'an unknown place'} cannot be read: {why}. Delete it, and run what made it"
        " again"
    )
