"""A run whose outcome is awaited: the noun below futures.

Sessions settle it, arguments hold it, waiting threads watch it; what users do with a future (results, states,
cancelling) is added above, in `_engine.futures`. Everything here is cheap, because a map makes one for each
of its children and most of them are never looked at one by one.

Settling and watching race without a lock around both: whoever settles stores the outcome and then reads the
callbacks, whoever watches stores a callback and then reads the outcome, so that at least one of the two sees
the other. The lock is only held while the list of callbacks is taken or changed, and it is one for all runs,
because a lock for each would cost more than everything else in them.

Pickled, an awaited run becomes a reference: a note is made of it where arguments are being collected (see
`taskyard_contract.references`), and unpickling puts the value of that run in its place.

Invariant: an outcome is stored once and never changes after that. A large one may be dropped (`kept`), and is
then read again; the run has ended all the same.
"""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from taskyard._data.values.holds import HOLDS
from taskyard._data.values.kept import KEPT, Decoded, Dropped
from taskyard_contract import references

if TYPE_CHECKING:
    from taskyard._data.values.known_results import KnownResults
    from taskyard._data.values.told import Told
    from taskyard_api.v1 import common_pb2, run_service_pb2
    from taskyard_api.v1 import session_service_pb2 as pb
    from taskyard_contract.errors import TaskyardError

    Outcome = bytes | Told | pb.RunOutcome | TaskyardError
    """An ordinary value as it was encoded; what is told of anything else; or why there will never be one."""

    Held = bytes | Told | pb.RunOutcome | TaskyardError | Dropped | Decoded
    """What a run has: its outcome, or what stands for that."""

logger = logging.getLogger("taskyard.futures")
_callbacks_lock = threading.Lock()


class Host(Protocol):
    """The worker in which code waits."""

    def blocked(self) -> AbstractContextManager[None]:
        """Say that the code waits for other runs meanwhile, so that one of them may have its place."""
        ...


class Origin(Protocol):
    """Where a run was submitted from, as far as whoever awaits it needs that."""

    flow_run_id: bytes
    """The flow run that it belongs to; nothing outside of flows."""
    known: "KnownResults | None"
    """Takes note of whose value is whose, in bodies of flows."""

    @property
    def host(self) -> Host | None:
        """The worker that the submitting code runs in, if it is one."""
        ...

    def open_futures(self) -> "Sequence[AwaitedRun]":
        """Return the runs that were submitted from here and have not ended."""
        ...

    def fetch(self, ref: "common_pb2.BlobRef") -> bytes | memoryview:
        """Read a blob of the run's control plane."""
        ...

    def record(self, run_id: bytes) -> "run_service_pb2.Run":
        """Read what is recorded of a run now."""
        ...

    def cancel(self, run_id: bytes) -> None:
        """Request the end of a run."""
        ...

    def read_again(self, run: "AwaitedRun", dropped: Dropped) -> "AwaitedRun":
        """Ask for an outcome that was dropped; what is returned is settled by it."""
        ...


class AwaitedRun:
    """A run, by its id, and its outcome once that is known."""

    __slots__ = ("__weakref__", "_callbacks", "_outcome", "_stretch", "origin", "run_id")

    is_again: ClassVar[bool] = False
    """Whether its run has ended before, so that its end is no news."""

    def __init__(self, run_id: bytes, origin: Origin) -> None:
        """Await a run that was submitted from `origin`."""
        self.run_id = run_id
        self.origin = origin
        self._outcome: Held | None = None
        self._callbacks: list[Callable[[], None] | SimpleQueue[Any]] | None = None
        self._stretch = HOLDS.current

    @property
    def outcome(self) -> "Held | None":
        """What became of the run, as it arrived, or what stands for that; None before."""
        return self._outcome

    def done(self) -> bool:
        """Say whether the run has ended."""
        return self._outcome is not None

    def put(self, outcome: "Outcome") -> bool:
        """Store the outcome without waking anybody; says whether `announce` must follow.

        Apart from `announce`, so that a batch of outcomes is stored before the first of those who wait runs.
        """
        self._outcome = outcome
        return self._callbacks is not None

    def weigh(self, size: int) -> None:
        """Note how large the outcome is that was stored, if it is not small: it may be dropped."""
        KEPT.enter(self, size)

    def drop(self, plain: Dropped, other: Dropped) -> Dropped | None:
        """Drop the outcome, where it can be read again: of runs that nobody asks for values it is kept."""
        return None

    def has_dropped(self, dropped: Dropped) -> bool:
        """Say whether `dropped` stands for its outcome now."""
        return self._outcome is dropped

    def take_back(self, dropped: Dropped, outcome: "Outcome") -> None:
        """Store an outcome that was dropped and read again, unless somebody has been faster."""
        if self._outcome is dropped:
            self._outcome = outcome

    def announce(self) -> None:
        """Wake those who wait for it."""
        with _callbacks_lock:
            callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            if isinstance(callback, SimpleQueue):
                callback.put(self)
            else:
                run(callback)

    def settle(self, outcome: "Outcome") -> None:
        """Store the outcome, unless there is one, and wake those who wait."""
        if self._outcome is None and self.put(outcome):
            self.announce()

    def when_settled(self, callback: Callable[[], None] | SimpleQueue[Any]) -> None:
        """Call `callback` once there is an outcome; at once if there is one.

        Who waits for many gives a queue, into which the run is put: that takes no callback for each of them.
        """
        with _callbacks_lock:
            if self._callbacks is None:
                self._callbacks = []
            self._callbacks.append(callback)
        if self._outcome is not None:
            self.announce()

    def forget(self, callback: Callable[[], None] | SimpleQueue[Any]) -> None:
        """Take back a `when_settled` that is no longer needed."""
        with _callbacks_lock:
            if self._callbacks is not None and callback in self._callbacks:
                self._callbacks.remove(callback)

    def __reduce__(self) -> tuple[Any, ...]:
        """Become a reference: pickled as an argument of a task, it is a dependency.

        Raises:
            TypeError: No arguments are being pickled, so nothing would ever resolve it.
        """
        references.note(self.run_id)
        return references.resolve, (self.run_id,)

    def __eq__(self, other: object) -> bool:
        """Two that await the same run are equal."""
        return isinstance(other, AwaitedRun) and self.run_id == other.run_id

    def __hash__(self) -> int:
        """Hash the id of the run: what is equal has it in common."""
        return hash(self.run_id)


def run(callback: Callable[[], object]) -> None:
    """Call something that somebody else wants called; whatever it raises must not keep others from it."""
    try:
        callback()
    except BaseException:  # an exit in a callback ends neither the thread nor the program
        logger.exception("a callback of a future raised")


def _after_fork() -> None:
    # Another thread of the parent may have held it.
    global _callbacks_lock
    _callbacks_lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
