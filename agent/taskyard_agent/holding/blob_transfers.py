"""Pieces on their way from or to the blob store. One task per piece, never per run.

Invariant: runs wait here only while their blobs travel; a transfer that fails becomes an outcome of the runs.
"""

import asyncio
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

from taskyard_agent.holding.blob_store import BlobStore
from taskyard_agent.holding.chunks import Piece
from taskyard_agent.runner import frames
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import common_pb2
from taskyard_contract.errors import TaskyardError
from taskyard_contract.states import StateReason

if TYPE_CHECKING:
    from taskyard_agent.processes.pool import ProcessPool

logger = logging.getLogger(__name__)


class Transfers:
    """Fetches before, uploads after execution."""

    def __init__(self, pool: "ProcessPool", blobs: BlobStore) -> None:
        """Hand fetched pieces back to `pool`."""
        self._pool = pool
        self._blobs = blobs
        self._fetching: dict[Piece, asyncio.Task[None]] = {}
        self._uploading: dict[Piece, asyncio.Task[None]] = {}
        self._results: dict[Piece, list[bytes]] = {}

    def present(self, piece: Piece) -> bool:
        """Whether everything a piece needs is here."""
        return self._blobs.has(piece.source.blobs)

    def pieces(self) -> Iterator[Piece]:
        """Iterate over the pieces on their way."""
        yield from self._fetching
        yield from self._uploading

    def results(self) -> Iterator[bytes]:
        """Iterate over the digests of results on their way to the store."""
        for digests in self._results.values():
            yield from digests

    def fetch(self, piece: Piece) -> None:
        """Fetch what a piece needs, then queue it."""
        self._fetching[piece] = asyncio.create_task(self._fetch(piece))

    def remove(self, key: pb.RunKey) -> bool:
        """Take a run out of what is being fetched; returns whether it was there."""
        for piece in self._fetching:
            position = piece.find(key)
            if position is not None and position not in piece.unwanted:
                piece.unwanted[position] = False
                return True
        return False

    def clear(self) -> list[Piece]:
        """Give up all fetching; returns the pieces."""
        taken = list(self._fetching)
        for task in self._fetching.values():
            task.cancel()
        self._fetching.clear()
        return [part for piece in taken for part in piece.wanted()]

    async def _fetch(self, piece: Piece) -> None:
        try:
            await self._blobs.fetch(piece.source.blobs)
            if piece.source.body_digest:
                piece.source.body = self._blobs.path(piece.source.body_digest).read_bytes()
        except (TaskyardError, OSError) as error:
            del self._fetching[piece]
            for part in piece.wanted():
                self._give_up(part, f"a blob it needs could not be fetched: {error}")
            return
        del self._fetching[piece]
        self._pool.requeue(piece.wanted())

    def _give_up(self, piece: Piece, message: str) -> None:
        for key in piece.run_keys():
            self._pool.session.lost(key, StateReason.CODE_UNAVAILABLE, message)
        self._pool.removed(len(piece))

    def upload(self, piece: Piece, tail: bytes, count: int) -> None:
        """Upload the blobs a report refers to, then report; `tail` is their list and the columns."""
        blobs = [
            common_pb2.BlobRef(digest=digest, size=size)
            for digest, size in frames.BLOB_ENTRY.iter_unpack(tail[: count * frames.BLOB_ENTRY.size])
        ]
        columns = tail[count * frames.BLOB_ENTRY.size :]
        self._results[piece] = [blob.digest for blob in blobs]
        self._uploading[piece] = asyncio.create_task(self._upload(piece, blobs, columns))

    async def _upload(self, piece: Piece, blobs: list[common_pb2.BlobRef], columns: bytes) -> None:
        for blob in blobs:
            try:
                await self._blobs.upload(blob)
            except (TaskyardError, OSError) as error:
                logger.warning("a result of %d bytes could not be stored: %s", blob.size, error)
                columns = refuse(columns, blob.digest, f"the result could not be stored: {error}")
        del self._uploading[piece], self._results[piece]
        source = piece.source
        self._pool.removed(len(piece))
        self._pool.session.report(
            source.first_epoch + piece.start, source.ids_of(piece.start, len(piece)), columns
        )


def refuse(columns: bytes, digest: bytes, message: str) -> bytes:
    """Turn the runs whose result is a blob that could not be stored into failures."""
    report = pb.ReportColumns.FromString(columns)
    for entry in report.exceptions:
        if entry.result.blob.digest == digest:
            entry.kind = pb.REPORT_KIND_FAILED
            entry.reason = StateReason.RESULT_REFUSED.value  # type: ignore[assignment]  # numerically equal
            entry.message = message
            entry.ClearField("result")
            entry.failure.type, entry.failure.message = "RuntimeError", message
        elif entry.failure.encoded.blob.digest == digest:
            entry.failure.ClearField("encoded")
    return report.SerializeToString()
