"""A store of results that programs use themselves.

Invariant: it reads and writes the same records as tasks and flows do, so that either finds what the other one
has written.
"""

import asyncio
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self

from taskyard import settings
from taskyard._durable_names import public
from taskyard._engine.results.choosing import checked_storage, local_storage, storage_of
from taskyard._engine.results.locks import KeyLocks
from taskyard._engine.results.plans import filled
from taskyard._engine.results.records import ResultRecord, ResultRecordMetadata, expires
from taskyard._engine.results.storages import Storage
from taskyard._engine.results.stored import read_record
from taskyard.exceptions import DamagedResult
from taskyard.serializers import Serializer, serializer_of
from taskyard_contract.clock import wall_time

if TYPE_CHECKING:
    from taskyard.locking.protocol import LockManager

_UNSAID: Final[Any] = object()


def default_storage() -> Storage:
    """Return where results go that nobody says a storage for: as settings say, else in the home."""
    said = settings.results()
    if said is not None and said.storage:
        return storage_of(checked_storage(said.storage))
    return local_storage(settings.results_path())


def default_serializer() -> Serializer:
    """Return what writes results that nobody says a serializer for."""
    said = settings.results()
    return serializer_of((said.serializer if said is not None else "") or "pickle")


@public("taskyard.results")
@dataclass(kw_only=True)
class ResultStore(KeyLocks):
    """Reads and writes records of results by their keys, and locks these keys."""

    result_storage: Any = None
    """A path, a URL, a block or "type/name" of one, or an object with `read_path` and `write_path`; what
    settings say by default."""
    serializer: Serializer | str | None = None
    """What writes values; records are read by what they say wrote them."""
    result_storage_key: str | None = None
    """The template of keys for values that are written without one."""
    cache_expiration: Any = None
    """A timedelta: for how long what is written stands for other runs."""
    cache_result_in_memory: bool = True
    """Whether what was read or written is kept, as it came from the storage."""
    lock_manager: "LockManager | None" = None
    """What keeps locks of keys, see `taskyard.locking`; transactions that are SERIALIZABLE need it."""

    def __post_init__(self) -> None:
        """Choose what was left out."""
        self.result_storage = checked_storage(self.result_storage, travels=False)
        self._storage = default_storage() if self.result_storage is None else storage_of(self.result_storage)
        self.serializer = default_serializer() if self.serializer is None else serializer_of(self.serializer)
        self._kept: dict[str, ResultRecord[Any]] = {}

    @property
    def given_storage(self) -> Any:
        """What was said of the storage, or of the one that was chosen: another store can be made of it."""
        return self._storage.given

    def update_for_task(self, task: Any) -> Self:
        """Return the store of a task's results: with the task's options where it has any, else with these."""
        return self._updated(task.settings, getattr(task, "cache_expiration", None))

    def update_for_flow(self, flow: Any) -> Self:
        """Return the store of a flow's results, likewise."""
        return self._updated(flow.settings, None)

    def _updated(self, own: Any, lifetime: Any) -> Self:
        return replace(
            self,
            result_storage=self._storage.given if own.storing is None else own.storing,
            serializer=self.serializer if own.result_serializer is None else own.result_serializer,
            result_storage_key=own.result_storage_key or self.result_storage_key,
            cache_expiration=lifetime or self.cache_expiration,
            cache_result_in_memory=own.cache_result_in_memory,
        )

    def __enter__(self) -> Self:
        """Use it in a with statement, as one that `update_for_task` has returned."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Forget what was kept."""
        self._kept.clear()

    def where(self, key: str) -> str:
        """Return for people where a key is."""
        return self._storage.place(key)

    def create_result_record(self, obj: Any, key: str | None = None, expiration: Any = None) -> Any:
        """Return a record of a value that nobody has written yet.

        Args:
            obj: The value.
            key: Its key; without one the template is filled, or there is one of chance.
            expiration: From when on it stands for no run.
        """
        metadata = ResultRecordMetadata(
            storage_key=key or self._new_key(),
            expiration=expiration or expires(self.cache_expiration, wall_time()),
            serializer=serializer_of(self.serializer),
        )
        return ResultRecord(metadata=metadata, result=obj)

    def _new_key(self) -> str:
        template = self.result_storage_key
        if template is None:
            return uuid.uuid4().hex
        from taskyard.context import current_context

        context = current_context()
        return filled(template, {} if context is None else context.parameters, "the store")

    def write(self, obj: Any, key: str | None = None, expiration: Any = None) -> ResultRecord[Any]:
        """Write a value, or a record; returns the record, with its key.

        Raises:
            ResultStorageError: The storage cannot be used.
            Exception: The serializer refuses the value.
        """
        record = obj if isinstance(obj, ResultRecord) else self.create_result_record(obj, key, expiration)
        written = record.metadata.storage_key or self._new_key()
        record.metadata.storage_key = written
        data = record.serialize()
        self._storage.write(written, data)
        self._kept.pop(written, None)
        return record

    def persist_result_record(self, record: ResultRecord[Any]) -> None:
        """Write a record that `create_result_record` has made."""
        self.write(record)

    def read(self, key: str) -> ResultRecord[Any]:
        """Read a record, expired or not.

        Raises:
            MissingResult: There is none.
            DamagedResult: What is there is none, or not as it was written.
            ResultStorageError: The storage cannot be used.
        """
        record = self._kept.get(key)
        if record is None:
            record = read_record(self._storage, key)
            if self.cache_result_in_memory:
                if len(self._kept) >= _MOST_KEPT:
                    self._kept.pop(next(iter(self._kept)), None)
                self._kept[key] = record
        return record

    def exists(self, key: str) -> bool:
        """Say whether there is a record that has not expired; only its beginning is read.

        Raises:
            ResultStorageError: The storage cannot be used, so that nobody knows.
        """
        try:
            metadata = ResultRecordMetadata.load_bytes(self._storage.head(key), None, self.where(key))
        except (FileNotFoundError, DamagedResult):
            return False
        return not metadata.is_expired(wall_time())

    async def awrite(self, obj: Any, key: str | None = None, expiration: Any = None) -> ResultRecord[Any]:
        """Write a value without blocking the event loop, like `write`."""
        return await asyncio.to_thread(self.write, obj, key, expiration)

    async def apersist_result_record(self, record: ResultRecord[Any]) -> None:
        """Write a record without blocking the event loop."""
        await asyncio.to_thread(self.write, record)

    async def aread(self, key: str) -> ResultRecord[Any]:
        """Read a record without blocking the event loop, like `read`."""
        return await asyncio.to_thread(self.read, key)

    async def aexists(self, key: str) -> bool:
        """Say whether there is a record without blocking the event loop, like `exists`."""
        return await asyncio.to_thread(self.exists, key)


_MOST_KEPT: Final = 1000
"""Records that a store keeps, at most."""


@public("taskyard.results")
def get_result_store() -> ResultStore:
    """Return the store of the task run, or the flow run, that the code runs in; outside, the default one."""
    from taskyard.context import FlowRunContext, TaskRunContext, current_context

    context = current_context()
    if isinstance(context, TaskRunContext):
        return ResultStore().update_for_task(context.task)
    if isinstance(context, FlowRunContext):
        return ResultStore().update_for_flow(context.flow)
    return ResultStore()


@public("taskyard.results")
def get_default_result_storage() -> str:
    """Return where results go that nobody says a storage for: a path, or a URL."""
    return str(default_storage().given)


@public("taskyard.results")
def get_default_result_serializer() -> Serializer:
    """Return what writes results that nobody says a serializer for."""
    return default_serializer()


@public("taskyard.results")
def should_persist_result() -> bool:
    """Say whether the run that the code runs in persists its result, see `persist_result`."""
    from taskyard.context import FlowRunContext, TaskRunContext, current_context

    context = current_context()
    # The task, or flow, is None where the context of the run was taken along into another process.
    if isinstance(context, TaskRunContext) and context.task is not None:
        return bool(context.task.settings.persists)
    if isinstance(context, FlowRunContext) and context.flow is not None:
        return bool(context.flow.settings.persists)
    said = settings.results()
    return bool(said is not None and said.persist)
