"""Large values among arguments: each is stored by itself, once, and the call only refers to it.

A value is named by its content, so calls that have the same one share it, whoever makes them; what is not
mapped over in a `map` is even looked at once for all children.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

from taskyard._engine.submission.unpicklable import not_picklable
from taskyard._network.session.run_groups import Upstream
from taskyard._network.session.session import Session
from taskyard.exceptions import PayloadTooLarge
from taskyard_api.v1 import common_pb2
from taskyard_contract import pickling
from taskyard_contract.encodings import BUFFERS, PICKLE
from taskyard_contract.references import begin_collecting, note, stored_value
from taskyard_contract.values.layout import LaidOut

LARGE_BYTES: Final = 64 * 1024
"""Values of this size and more are stored by themselves."""

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class StoredValue:
    """Stands for a value among arguments that was stored by itself: the task receives the value."""

    __slots__ = ("_encoding", "names", "ref", "upstream")

    def __init__(self, ref: common_pb2.BlobRef, encoding: str, upstream: Upstream, names: set[str]) -> None:
        """Stand for what is stored as `ref`.

        Args:
            ref: Where it is.
            encoding: What it is written in.
            upstream: The runs whose futures are in it.
            names: The names of the main module that it refers to.
        """
        self.ref = ref
        self.upstream = upstream
        self.names = names
        self._encoding = encoding

    def __reduce__(self) -> tuple[Any, ...]:
        """Become a call that reads it; futures in it are dependencies as if they were here."""
        for run_id, kind in self.upstream.items():
            note(run_id, kind)
        ref = self.ref
        return stored_value, (ref.name, ref.size, ref.checksum, self._encoding)


class LargeValues:
    """Stores the large values of some calls of one task."""

    def __init__(self, task_name: str, session: Session, *, stores: bool = True) -> None:
        """Store values among arguments of a task where `session` says, or only name them as if they were."""
        self._task_name = task_name
        self._put = session.blobs.put if stores else session.blobs.named
        self._session = session
        self._shared: dict[int, tuple[Any, StoredValue]] = {}

    @property
    def has_shared(self) -> bool:
        """Whether there are values that were stored for several calls."""
        return bool(self._shared)

    def share(self, values: Iterable[Any]) -> None:
        """Store those of some values that are large, for all calls that have the very same objects.

        Raises:
            NotPicklable: A value cannot travel to another process.
            PayloadTooLarge: It is larger than the control plane takes.
        """
        for value in values:
            if id(value) not in self._shared:
                stored = self._stored(value)
                if stored is not None:
                    self._shared[id(value)] = (value, stored)  # kept, so that no other gets its id

    def with_shared(self, call: Arguments) -> Arguments:
        """Return a call with what was shared in the place of the values."""
        if not self._shared:
            return call
        return self._changed(call, self._of_shared)

    def apart(self, call: Arguments) -> Arguments:
        """Return a call with what is stored in the place of each large value.

        Raises:
            NotPicklable, PayloadTooLarge: As `share`.
        """
        return self._changed(call, self._of_any)

    def _changed(self, call: Arguments, change: Callable[[Any], Any]) -> Arguments:
        args, kwargs = call
        return tuple(map(change, args)), {name: change(value) for name, value in kwargs.items()}

    def _of_shared(self, value: Any) -> Any:
        found = self._shared.get(id(value))
        return value if found is None else found[1]

    def _of_any(self, value: Any) -> Any:
        return value if type(value) is StoredValue else self._stored(value) or value

    def _stored(self, value: Any) -> StoredValue | None:
        """Store a value if it is large; None if it is not."""
        upstream: Upstream = {}
        outside = begin_collecting(upstream)
        try:
            data = pickling.dumps_apart(value)
            size = data.size if isinstance(data, LaidOut) else len(data)
            if size < LARGE_BYTES:
                return None
            names = pickling.names_in(value) if _refers_to_main(data) else set()
        except Exception as error:  # pickling runs foreign code, which may raise anything
            raise not_picklable(self._task_name, (value,), {}, error) from error
        finally:
            begin_collecting(outside)
        check_size(self._task_name, size, self._session)
        encoding = BUFFERS if isinstance(data, LaidOut) else PICKLE
        return StoredValue(self._put(data), encoding, upstream, names)


def refs_in(call: Arguments) -> list[common_pb2.BlobRef]:
    """Return where the stored values of a call are, each once."""
    args, kwargs = call
    refs = {value.ref.name: value.ref for value in (*args, *kwargs.values()) if type(value) is StoredValue}
    return list(refs.values())


def names_in(call: Arguments) -> set[str]:
    """Return the names of the main module that the stored values of a call refer to."""
    args, kwargs = call
    return {name for value in (*args, *kwargs.values()) if type(value) is StoredValue for name in value.names}


def check_size(name: str, size: int, session: Session) -> None:
    """Check the size of arguments of a task, or of one of them.

    Raises:
        PayloadTooLarge: The control plane would not take it.
    """
    if size > session.max_payload_bytes:
        raise PayloadTooLarge(
            f"the arguments of '{name}' take {size:,} bytes, the server takes at most "
            f"{session.max_payload_bytes:,}; pass a reference to the data (a path, a key) instead",
            limit=session.max_payload_bytes,
        )


def _refers_to_main(data: bytes | LaidOut) -> bool:
    # Of large bytes the pickle is in one piece with them, and refers to nothing.
    return pickling.IN_MAIN in (data.pieces[1] if isinstance(data, LaidOut) else data)
