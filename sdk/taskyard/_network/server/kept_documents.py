"""The documents of a server, as programs change them: read, decide, store, and again if somebody was faster.

Invariant: nothing is overwritten that the decision has not seen.
"""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from taskyard import settings
from taskyard._network.server.document_calls import NEW, DocumentCalls
from taskyard._network.server.locating import locator
from taskyard._network.server.loop_thread import at_exit, loop_thread, not_at_exit
from taskyard_contract.errors import TaskyardError, VersionConflict

if TYPE_CHECKING:
    from taskyard_api.v1.document_service_pb2 import Document

ATTEMPTS: Final = 40
"""Each one that fails is a change of somebody else that came through: so many in a row are no accident."""
_FIRST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 3.0
"""Seconds at most before another attempt, drawn by lot: hundreds that change one document at once get through
only when they come apart, since of all that have seen the same version one succeeds."""

T = TypeVar("T")
Decide = Callable[["Document | None"], tuple[bytes, bytes] | None]
"""Returns the body and the secret that a document is to have, None to leave it; or raises."""


class KeptDocuments:
    """The documents of one kind."""

    def __init__(self, calls: DocumentCalls, kind: str) -> None:
        """Make calls about one kind."""
        self._calls = calls
        self._kind = kind

    def get(self, name: str, *, include_secret: bool = False) -> "Document | None":
        """Read one; None when there is none."""
        return self._calls.get_document(self._kind, name, include_secret=include_secret)

    def all(self, prefix: str = "") -> "Iterator[Document]":
        """Yield those whose names begin with a prefix, in the order of their names."""
        return self._calls.documents(self._kind, prefix)

    def change(self, name: str, decide: Decide) -> None:
        """Store what `decide` makes of what is there.

        Args:
            name: The document.
            decide: Called with what is there; once more if somebody else changes that meanwhile.

        Raises:
            VersionConflict: Others kept changing it.
        """

        def attempt() -> None:
            found = self.get(name)
            content = decide(found)
            if content is not None:
                version = NEW if found is None else found.version
                self._calls.put_document(self._kind, name, version, *content)

        _until_first(attempt)

    def delete(self, name: str, only_if: "Callable[[Document], bool] | None" = None) -> bool:
        """Delete one; returns whether there was one.

        Args:
            name: The document.
            only_if: Called with what is there, and says whether that is to be deleted; by default all is.
        """

        def attempt() -> bool:
            found = self.get(name)
            if found is not None and (only_if is None or only_if(found)):
                self._calls.delete_document(self._kind, name, found.version)
            return found is not None

        return _until_first(attempt)


def _until_first(attempt: Callable[[], T]) -> T:
    """Make a change, and make it once more when somebody else was faster.

    Raises:
        VersionConflict: Others were, again and again.
    """
    for number in range(ATTEMPTS - 1):
        try:
            return attempt()
        except VersionConflict:
            time.sleep(random.uniform(0, min(_FIRST_PAUSE * 2**number, _LONGEST_PAUSE)))
    return attempt()


def not_understood(kind: str, name: str) -> TaskyardError:
    """Return the error of a document whose body says nothing, as programs of other kinds may write it."""
    return TaskyardError(
        f"what is stored of the {kind} '{name}' is not written as this release writes it; update this"
        " program, or store it again"
    )


class _Connection(NamedTuple):
    """What is kept open: connecting takes several times as long as a call."""

    address: str
    loop: object
    calls: DocumentCalls


_connection: _Connection | None = None
_inherited: Final[list[_Connection]] = []
_lock = threading.Lock()


def kept_documents(kind: str) -> KeptDocuments:
    """Return the documents of a kind, on the server that TASKYARD_SERVER names, or in the local yard."""
    return KeptDocuments(_calls(locator(settings.server())()), kind)


def _calls(address: str) -> DocumentCalls:
    global _connection
    loop = loop_thread.loop()
    with _lock:
        held = _connection
        if held is not None and (held.address, held.loop) == (address, loop):
            return held.calls
        calls = DocumentCalls(address, patient=True)
        _connection = _Connection(address, loop, calls)
        at_exit(calls.close)
    if held is not None:
        not_at_exit(held.calls.close)
        if held.loop is loop:  # else it has ended with its loop
            held.calls.close()
    return calls


def _after_fork() -> None:
    # That of the parent is the parent's, and not even let go: destroying gRPC objects after a fork can crash.
    global _connection, _lock
    _lock = threading.Lock()
    if _connection is not None:
        _inherited.append(_connection)
        _connection = None


os.register_at_fork(after_in_child=_after_fork)
