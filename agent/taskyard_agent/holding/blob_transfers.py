"""Spans on their way from or to the blob store.

Two journeys. *Before* execution: a chunk that names blobs (large arguments, results of upstream runs, code
that does not fit a template, or its own body) waits here until they are files in the agent's directory, and
until the bundle of its program is unpacked, if that is on another machine, and then comes back as runs that
may start; between that and its start the files may have been removed to make room, so whoever starts it looks
again (`present`) and sends it here once more. *After* execution: a report that names blobs waits until the
server has them all, because what it has acknowledged must be readable by everybody.

One task per span, never per run; several spans that need the same blob share one download (`BlobStore`). Runs
can be cancelled, dropped or given back while their blobs come: they are cut out of the span, the transfer
goes on for the rest. What has executed cannot be taken back: it leaves with its report.
Invariant: runs wait here only while their blobs travel; a transfer that fails becomes an outcome of the runs.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator

from taskyard_agent.holding.blob_store import LARGE_BYTES, BlobStore
from taskyard_agent.holding.chunks import Chunk, Span
from taskyard_agent.holding.holdings import Holdings
from taskyard_agent.holding.room import Room
from taskyard_agent.holding.unpacked_bundles import UnpackedBundles
from taskyard_agent.holding.unpacking import BadBundle
from taskyard_agent.runner import frames
from taskyard_agent.runner.blob_files import is_disk_trouble
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import common_pb2
from taskyard_contract.errors import TaskyardError
from taskyard_contract.states import StateReason

logger = logging.getLogger(__name__)


class _Fetch:
    """A chunk whose blobs come, and what is still wanted of it."""

    __slots__ = ("chunk", "is_large", "spans", "task")

    def __init__(self, span: Span) -> None:
        self.chunk: Chunk = span.chunk
        self.spans = [span]
        large = any(blob.size >= LARGE_BYTES for blob in span.chunk.blobs)
        self.is_large = large and not span.chunk.in_lane
        self.task: asyncio.Task[None]


class BlobTransfers:
    """Fetches before, uploads after execution."""

    def __init__(
        self,
        blobs: BlobStore,
        bundles: UnpackedBundles,
        room: Room,
        holdings: Holdings,
        arrived: Callable[[list[Span]], None],
    ) -> None:
        """Hand what has been fetched to `arrived`; tell `room` what there was no room for."""
        self._bundles = bundles
        self._room = room
        self._blobs = blobs
        self._holdings = holdings
        self._arrived = arrived
        self._fetching: set[_Fetch] = set()
        self._uploading: dict[asyncio.Task[None], list[str]] = {}

    def present(self, span: Span, *, is_new: bool = False) -> bool:
        """Whether everything a span needs is here that can be; for one that is new it is asked for again."""
        bundle = span.chunk.template.bundle
        if is_new:
            self._blobs.ask_again(span.chunk.blobs)
        if span.chunk.body_has_blobs:
            return False
        return (not bundle or self._bundles.has(bundle)) and self._blobs.has(span.chunk.blobs)

    def spans(self) -> Iterator[Span]:
        """Iterate over what is being fetched for."""
        for fetch in self._fetching:
            yield from fetch.spans

    def awaiting(self) -> int:
        """Return how many runs that take slots wait for large values."""
        return sum(sum(map(len, fetch.spans)) for fetch in self._fetching if fetch.is_large)

    def results(self) -> Iterator[str]:
        """Iterate over the names of results on their way to the store."""
        for names in self._uploading.values():
            yield from names

    def fetch(self, span: Span) -> None:
        """Fetch what a span needs, then hand it on."""
        fetch = _Fetch(span)
        self._fetching.add(fetch)
        fetch.task = asyncio.create_task(self._fetch(fetch))

    def remove(self, key: pb.RunKey) -> Span | None:
        """Take one run out of what is being fetched for; None when it is not there."""
        for fetch in self._fetching:
            for index, span in enumerate(fetch.spans):
                position = span.find(key)
                if position is not None:
                    fetch.spans[index : index + 1] = span.without(position)
                    return span.one(position)
        return None

    def clear(self) -> list[Span]:
        """Give up all fetching; returns what it was for."""
        spans = list(self.spans())
        for fetch in self._fetching:
            fetch.task.cancel()
        self._fetching.clear()
        return spans

    def close(self) -> None:
        """Give up everything, results on their way as well."""
        self.clear()
        for task in self._uploading:
            task.cancel()

    async def _fetch(self, fetch: _Fetch) -> None:
        chunk = fetch.chunk
        try:
            await self._blobs.fetch(chunk.blobs)
            if chunk.body_has_blobs and chunk.body_blob is not None:
                chunk.body_has_blobs = False
                chunk.blobs += tuple(await self._blobs.further(chunk.body_blob))
                await self._blobs.fetch(chunk.blobs)
            if chunk.template.bundle:
                await self._bundles.prepare(chunk.template.bundle)
        except Exception as error:  # whatever it is: these runs have to leave
            self._fetching.discard(fetch)
            self._failed(fetch, error)
            return
        self._fetching.discard(fetch)
        self._arrived(fetch.spans)

    def _failed(self, fetch: _Fetch, error: Exception) -> None:
        reason, message = StateReason.CODE_UNAVAILABLE, f"a blob it needs could not be fetched: {error}"
        if isinstance(error, BadBundle):
            message = str(error)
        if isinstance(error, OSError) and is_disk_trouble(error):
            reason = StateReason.AGENT_DISK_FULL
            message = (
                f"the agent has no room for a blob it needs: {error.strerror}; make room on its machine, "
                "or have it executed by an agent with a larger disk"
            )
        _note_unforeseen(error)
        for span in fetch.spans:
            self._holdings.lose(span, reason, message)
        if reason is StateReason.AGENT_DISK_FULL:
            self._room.lacked(0, str(error))

    def upload(self, span: Span, tail: bytes, count: int) -> None:
        """Upload the blobs a report refers to, then report; `tail` is their list and the columns."""
        blobs = [
            common_pb2.BlobRef(name=name.rstrip(b"\0").decode(), size=size, checksum=checksum)
            for name, size, checksum in frames.BLOB_ENTRY.iter_unpack(tail[: count * frames.BLOB_ENTRY.size])
        ]
        columns = tail[count * frames.BLOB_ENTRY.size :]
        task = asyncio.create_task(self._upload(span, blobs, columns))
        self._uploading[task] = [blob.name for blob in blobs]
        task.add_done_callback(self._uploading.pop)

    async def _upload(self, span: Span, blobs: list[common_pb2.BlobRef], columns: bytes) -> None:
        for blob in blobs:
            try:
                await self._blobs.upload(blob)
            except Exception as error:  # whatever it is: these runs have to leave
                _note_unforeseen(error)
                logger.warning("a result of %d bytes could not be stored: %s", blob.size, error)
                columns = refuse(columns, blob.name, f"the result could not be stored: {error}")
        self._holdings.report(span, columns)


def _note_unforeseen(error: Exception) -> None:
    if not isinstance(error, TaskyardError | OSError):
        logger.error("a transfer failed as none should", exc_info=error)


def refuse(columns: bytes, name: str, message: str) -> bytes:
    """Turn the runs whose result is a blob that could not be stored into failures."""
    report = pb.ReportColumns.FromString(columns)
    for entry in report.exceptions:
        if entry.result.blob.name == name:
            entry.kind = pb.REPORT_KIND_FAILED
            entry.reason = StateReason.RESULT_REFUSED.value  # type: ignore[assignment]  # numerically equal
            entry.message = message
            entry.ClearField("result")
            entry.failure.type, entry.failure.message = "RuntimeError", message
        elif entry.failure.encoded.blob.name == name:
            entry.failure.ClearField("encoded")
    return report.SerializeToString()
