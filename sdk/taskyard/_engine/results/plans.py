"""What becomes of the results of a task, or of a flow, whose options say more than nothing.

Invariant: most tasks have no plan, and pay one test for that.
"""

import hashlib
import logging
import re
import socket
from datetime import timedelta
from typing import Any, Final

from taskyard._engine.results.choosing import storage_of
from taskyard._engine.results.records import ResultRecord, ResultRecordMetadata, expires
from taskyard._engine.results.storages import Storage
from taskyard._engine.results.stored import StoredResult, read_record
from taskyard.exceptions import DamagedResult, NotSerializable
from taskyard.serializers import Serializer, serializer_of
from taskyard_contract.clock import wall_time
from taskyard_contract.failures import text_of

logger: Final = logging.getLogger("taskyard.results")
_PLAIN_KEY: Final = re.compile(r"(?!\.)[\w.-]{1,180}", re.ASCII)


class ResultPlan:
    """Where the results of a task, or of a flow, go, and as what."""

    def __init__(
        self, name: str, storage: Any, serializer: Any, key: str | None, lifetime: timedelta | None
    ) -> None:
        """Make a plan of options that were checked.

        Args:
            name: Of the task or flow, for messages.
            storage: The option; None where the control plane keeps results.
            serializer: The option; None for pickles.
            key: The template of keys; None for the cache key, or that of the run.
            lifetime: How long a record stands for other runs.
        """
        self.name = name
        self.storage: Storage | None = None if storage is None else storage_of(storage)
        self.serializer: Serializer = serializer_of("pickle" if serializer is None else serializer)
        self._template = key
        self._lifetime = lifetime

    def key(self, cache_key: str, parameters: Any, run_id: bytes, attempt: int) -> str:
        """Return the key of a run's record, with what `taskyard.runtime` knows of the run.

        Args:
            cache_key: The run's cache key, if it has one.
            parameters: Its parameters, by name.
            run_id: Its id.
            attempt: What tells its attempts apart: one that was given up must not write what another has.

        Raises:
            ValueError: The template cannot be filled.
        """
        if self._template is None:
            return safe_key(cache_key) if cache_key else f"{run_id.hex()}-{attempt:x}"
        return filled(self._template, parameters, self.name)

    def key_for_all(self, cache_key: str) -> str:
        """Return a cache key as the control plane knows it: equal keys in other storages are others."""
        return cache_key if self.storage is None else f"{self.storage.name}/{cache_key}"

    def own_key(self, key_for_all: str) -> str:
        """Return the cache key that `key_for_all` was made of; "" of none."""
        return key_for_all if self.storage is None else key_for_all.removeprefix(f"{self.storage.name}/")

    def find(self, key: str, cache_key: str) -> StoredResult | None:
        """Return what stands for a run with a cache key, if there is a record that does.

        Raises:
            ResultStorageError: The storage cannot be used, so that nobody knows.
        """
        assert self.storage is not None
        where = self.storage.place(key)
        try:
            metadata = ResultRecordMetadata.load_bytes(self.storage.head(key), self.serializer, where)
        except FileNotFoundError:
            return None
        except DamagedResult as error:
            logger.warning("a stored result of '%s' is made anew: %s", self.name, error)
            return None
        if metadata.cache_key not in (None, cache_key) or metadata.is_expired(wall_time()):
            return None
        return StoredResult(self.serializer, storage=self.storage, key=key, writer=_writer())

    def store(self, value: Any, key: str, cache_key: str) -> StoredResult:
        """Write a value; returns what is reported instead of it.

        Raises:
            NotSerializable: The serializer refuses the value.
            ResultStorageError: The storage cannot be used.
        """
        metadata = ResultRecordMetadata(
            storage_key=key,
            expiration=expires(self._lifetime, wall_time()),
            serializer=self.serializer,
            cache_key=cache_key or None,
        )
        try:
            data = ResultRecord(metadata=metadata, result=value).serialize()
        except Exception as error:  # code of the user's, and of whatever is in the value
            raise NotSerializable(
                f"'{self.name}' returned a {type(value).__qualname__} that the serializer "
                f"'{self.serializer.type}' cannot write ({text_of(error)}); return what it can, or choose "
                "another result_serializer"
            ) from error
        if self.storage is None:
            return StoredResult(self.serializer, storage=None, body=data[len(data) - metadata.size :])
        self.storage.write(key, data)
        return StoredResult(self.serializer, storage=self.storage, key=key, writer=_writer())

    def withdraw(self, key: str) -> None:
        """Have a record stand for no further run: what its run did was undone. It can still be read.

        Raises:
            ResultStorageError: The storage cannot be used, or has no such record.
        """
        assert self.storage is not None
        record = read_record(self.storage, key, self.serializer)
        record.metadata.expiration = wall_time()
        self.storage.write(key, record.serialize())


def filled(template: str, parameters: Any, name: str) -> str:
    """Fill the template of a key with parameters and with what `taskyard.runtime` knows.

    Raises:
        ValueError: It cannot be filled.
    """
    from taskyard import runtime

    try:
        key = template.format(parameters=parameters, task_run=runtime.task_run, flow_run=runtime.flow_run)
    except Exception as error:  # of formats of the user's values: any
        raise ValueError(
            f"result_storage_key={template!r} of '{name}' cannot be filled ({type(error).__name__}: {error});"
            " name {parameters[...]}, {task_run....} or {flow_run....}"
        ) from error
    if not key:
        raise ValueError(f"result_storage_key={template!r} of '{name}' makes an empty key")
    return key


def safe_key(cache_key: str) -> str:
    """Return a cache key as every storage takes it."""
    if _PLAIN_KEY.fullmatch(cache_key):
        return cache_key
    return f"sha256-{hashlib.sha256(cache_key.encode(errors='surrogatepass')).hexdigest()}"


def _writer() -> str:
    return socket.gethostname()
