"""Blobs as objects of an object store: S3 and what speaks its protocol, Google Cloud Storage, Azure.

Credentials, regions and endpoints come from the environment, under the names that the tools of each provider
know, or from the machine. What a provider says of an error may repeat parts of a request, so only its status
and its code are passed on.

A small blob is one request. A large one is sent in parts while it comes, by a thread of its own, and is not
to be seen before the last of them; given up, its parts are removed. Those of a process that was killed stay
invisible until the bucket removes them by a rule for incomplete uploads, which it should have.

Invariant: an object that this process stores has its name only when its content was checked.
"""

import queue
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, Final

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotSupportedError
from obstore.store import from_url

from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs.names import is_result
from taskyard_contract.errors import BlobNotFound, DigestMismatch, InvalidRequest, StorageUnavailable
from taskyard_controlplane.blobs.interface import StoredBlob
from taskyard_controlplane.blobs.receiving import Receiving, ReceivingWhole, check_of
from taskyard_controlplane.blobs.stamps import STAMP, refuse_other

CHUNK_BYTES: Final = 8 * 1024 * 1024
"""Of one part of a large object: providers take 10,000 parts at most, and 5 MiB at least."""
CHUNKS_AT_A_TIME: Final = 4
"""Parts of one object that are under way together; with them in memory, an upload holds some 45 MB."""
PART_BYTES: Final = 256 * 1024
"""What a reader is given at a time."""
WAITING_PARTS: Final = 4
"""Parts of an upload that wait for its thread, of 1 MiB at most."""
LOOKED_UP_AT_A_TIME: Final = 16
RETRY_SECONDS: Final = 5.0
"""When to come back to a store that does not answer."""
PROBE: Final = ".now"
"""An object that is written to see whether, and when, one can be."""
RETRIES: Final = {"max_retries": 5, "retry_timeout": timedelta(seconds=30)}
_STATUS: Final = re.compile(r"status code: (\d{3}[ A-Za-z]*)")
_CODE: Final = re.compile(r"<Code>(\w{1,64})</Code>")
_END: Final = b""


class ObjectStore:
    """`BlobStore` in a bucket; the protocol says what its methods promise."""

    most_uploads = 8

    def __init__(self, url: str) -> None:
        """Use what is below a URL.

        Raises:
            ValueError: It, or the environment, says something that cannot be.
        """
        self.url = url
        self.directory: common_pb2.BlobDirectory | None = None
        self.bucket = bucket_of(url)

    def open(self, database_id: str) -> None:
        with write_errors(self.url):
            self._stamp(database_id)
            obstore.put(self.bucket, PROBE, b"")

    def _stamp(self, database_id: str) -> None:
        """Note whose blobs these are; of two that do so at the same moment one is first."""
        content = database_id.encode()
        try:
            obstore.put(self.bucket, STAMP, content, mode="create")
        except AlreadyExistsError:
            pass
        except (NotSupportedError, NotImplementedError):
            if self._head(STAMP) is None:
                obstore.put(self.bucket, STAMP, content)
        found = bytes(obstore.get(self.bucket, STAMP).bytes())
        refuse_other(database_id, found, self.url, f"{self.url}/{STAMP}")

    def receive(self, ref: common_pb2.BlobRef) -> "IncomingObject | IncomingParts":
        return IncomingObject(self, ref) if ref.size <= CHUNK_BYTES else IncomingParts(self, ref)

    def missing(self, names: Sequence[str]) -> set[str]:
        if len(names) < 2:
            sizes = [self.size(name) for name in names]
        else:
            with ThreadPoolExecutor(LOOKED_UP_AT_A_TIME, thread_name_prefix="objects") as threads:
                sizes = list(threads.map(self.size, names))
        return {name for name, size in zip(names, sizes, strict=True) if size is None}

    def size(self, name: str) -> int | None:
        with object_errors(self.url):
            found = self._head(name)
        return None if found is None else int(found["size"])

    def read(self, name: str, offset: int = 0) -> Iterator[bytes]:
        end = self.size(name)
        while offset < (end or 0):
            piece = self._piece(name, offset, min(CHUNK_BYTES, (end or 0) - offset))
            if not piece:
                raise DigestMismatch(f"blob {name} in {self.url} is damaged: it ends at {offset} of {end}")
            offset += len(piece)
            for start in range(0, len(piece), PART_BYTES):
                yield bytes(piece[start : start + PART_BYTES])
        if end is None:
            raise _not_found(name)

    def remove_unused(self, name: str, since_us: int | None) -> bool:
        # Contents come through this process alone, which stores none under a name that it removes. A result
        # may be put there by whoever was let in for it; he asks afterwards whether it is there, and is told
        # that it is not while it is being removed (`LeavingBlobs.told`). What he was told of stays.
        with object_errors(self.url), suppress(FileNotFoundError):
            if since_us is not None:
                found = self._head(name)
                if found is not None and found["last_modified"].timestamp() * 1_000_000 > since_us:
                    return False
            obstore.delete(self.bucket, name)
        return True

    def list(self, after: str = "") -> Iterator[StoredBlob]:
        pages = iter(obstore.list(self.bucket, offset=after or None))
        while True:
            with object_errors(self.url):
                page = next(pages, None)
            if page is None:
                return
            for found in page:
                if not found["path"].startswith("."):
                    at = found["last_modified"]
                    yield StoredBlob(found["path"], found["size"], round(at.timestamp()) * 1_000_000)

    def now_us(self) -> int:
        with write_errors(self.url):
            obstore.put(self.bucket, PROBE, b"")
            at = obstore.head(self.bucket, PROBE)["last_modified"]
        return round(at.timestamp()) * 1_000_000

    def free_bytes(self) -> int | None:
        return None

    def close(self) -> None:
        pass

    def check_other(self, ref: common_pb2.BlobRef, name: str) -> None:
        """Make sure that a result does not replace another one: a report may have said what that is.

        Raises:
            InvalidRequest: It would.
        """
        if not is_result(name) or self.size(name) is None:
            return
        check = check_of(ref)
        for part in self.read(name):
            check.update(part)
        if not check.is_right():
            raise InvalidRequest(f"another result is stored as {name}", field="blob.name")

    def _head(self, name: str) -> Any:
        with suppress(FileNotFoundError):
            return obstore.head(self.bucket, name)
        return None

    def _piece(self, name: str, start: int, length: int) -> memoryview:
        try:
            with object_errors(self.url):
                return memoryview(obstore.get_range(self.bucket, name, start=start, length=length))
        except FileNotFoundError:
            raise _not_found(name) from None


class IncomingObject(ReceivingWhole):
    """A blob on its way into one request."""

    def __init__(self, store: ObjectStore, ref: common_pb2.BlobRef) -> None:
        """Receive a blob."""
        super().__init__(ref)
        self._store = store

    def keep(self) -> None:
        self._store.check_other(self.ref, self.name)
        with write_errors(self._store.url):
            obstore.put(self._store.bucket, self.name, bytes(self.content), use_multipart=False)


class GivenUp(Exception):
    """An upload is not to be finished."""


class IncomingParts(Receiving):
    """A blob on its way into an object in parts, which a thread of its own sends."""

    def __init__(self, store: ObjectStore, ref: common_pb2.BlobRef) -> None:
        """Receive a blob."""
        super().__init__(ref)
        self._store = store
        self._given_up = False
        self._failed: BaseException | None = None
        self._waiting: queue.Queue[bytes] = queue.Queue(WAITING_PARTS)
        self._sender = threading.Thread(target=self._send, name="blob upload", daemon=True)

    def begin(self) -> None:
        self._sender.start()

    def take(self, part: bytes | memoryview) -> None:
        if part:
            self._hand_over(bytes(part))

    def keep(self) -> None:
        self._store.check_other(self.ref, self.name)
        self._hand_over(_END)
        self._sender.join()
        self._raise_failure()

    def abandon(self) -> None:
        self._given_up = True
        with suppress(queue.Empty):
            while True:
                self._waiting.get_nowait()
        with suppress(queue.Full):  # the thread looks at the flag whenever there is something
            self._waiting.put_nowait(_END)
        self._sender.join()

    def _hand_over(self, part: bytes) -> None:
        while True:
            self._raise_failure()
            with suppress(queue.Full):
                self._waiting.put(part, timeout=1.0)
                return

    def _raise_failure(self) -> None:
        if self._failed is not None:
            with write_errors(self._store.url):
                raise self._failed

    def _send(self) -> None:
        try:
            obstore.put(
                self._store.bucket, self.name, self._parts(), use_multipart=True, chunk_size=CHUNK_BYTES,
                max_concurrency=CHUNKS_AT_A_TIME,
            )  # fmt: skip
        except BaseException as error:
            self._failed = error

    def _parts(self) -> Iterator[bytes]:
        while (part := self._waiting.get()) != _END:
            yield part
        if self._given_up:
            raise GivenUp  # what was sent is removed then


def bucket_of(url: str, endpoint: str = "") -> Any:
    """Return what is below a URL, as this process reaches it or by the endpoint that others do.

    Raises:
        ValueError: The URL, or the environment, says something that cannot be.
    """
    config = {"endpoint": endpoint} if endpoint else None
    try:
        return from_url(url, config=config, retry_config=RETRIES)  # type: ignore[call-overload]
    except (BaseError, ValueError) as error:
        raise ValueError(type(error).__name__) from None  # its words may have secrets


def _not_found(name: str) -> BlobNotFound:
    return BlobNotFound(f"there is no blob {name}; it was never stored, or was removed")


@contextmanager
def object_errors(where: str) -> Iterator[None]:
    """Turn what a provider says into what callers are told.

    Raises:
        StorageUnavailable: It does not answer, or refuses this process.
        FileNotFoundError: There is no such object, or no such bucket.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except (BaseError, OSError) as error:
        raise StorageUnavailable(
            f"the store of blobs, {where}, cannot be used ({_said(error)}); see to it, and to "
            "the credentials in the server's environment",
            retry_after=RETRY_SECONDS,
        ) from None


@contextmanager
def write_errors(where: str) -> Iterator[None]:
    """Do the same, where it can only be the bucket that is not found.

    Raises:
        StorageUnavailable: There is no bucket, or as above.
    """
    try:
        with object_errors(where):
            yield
    except FileNotFoundError:
        text = f"there is no bucket for {where}; make it, or correct --blobs"
        raise StorageUnavailable(text, retry_after=RETRY_SECONDS) from None


def _said(error: Exception) -> str:
    """Return what may be known of an error: its text can have keys and signatures."""
    text = str(error)
    found = [match.group(1).strip() for match in (_STATUS.search(text), _CODE.search(text)) if match]
    return ", ".join(found) or f"no answer: {type(error).__name__}"
