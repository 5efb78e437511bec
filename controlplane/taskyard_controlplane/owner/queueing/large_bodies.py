"""Bodies of chunks with large inputs: files in the store of blobs, for as long as an agent has their run.

A run may depend on results that are larger together than any message, and than what memory should hold of
them, or on very many. Each of them is in the database, and stays as it is. So the body of its chunk begins
with what is small, and goes on with pieces, each of which is read, written behind the one before and let go
again: in threads, a piece at a time, and by readers of the database. (A message may be cut into pieces that
are messages of the same kind: read one behind the other they are the whole.) Agents that see the store's
directory have it then; others fetch it like any blob.

No row names such a file. It goes when its run is over, or is assigned anew: then there is another one. What a
control plane that was killed has left is removed like all files that nobody names; until then the agent that
holds the run can go on with it.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, NamedTuple

import xxhash

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs.names import inputs_name
from taskyard_contract.errors import StorageFull, StorageUnavailable, TaskyardError
from taskyard_contract.payload_limits import PART_BYTES
from taskyard_controlplane.blobs.interface import BlobStore
from taskyard_controlplane.domain.memory import INPUT_OVERHEAD, Input, size_of
from taskyard_controlplane.domain.model import BARE_ENCODING, HELD, Run
from taskyard_controlplane.owner.queueing.chunks import NOTHING_LOADED, InputWriter
from taskyard_controlplane.storage.interface import Reader, StoredPayloads

log = logging.getLogger(__name__)

INPUTS_PER_PIECE: Final = 4_096
"""However small they are: a piece may take as many look-ups."""
WRITTEN_AT_ONCE: Final = 8
"""They take turns, a piece each. On their way to object storage each has some 45 MB of memory."""
SILENT_SECONDS: Final = 60.0
"""Between two lines in the log about a store that is full."""
MOST_NAMED: Final = 1_000
"""Blobs among the inputs that a chunk names itself: with more it would be too large for a frame."""


class Place(NamedTuple):
    """Where bodies are put, and where their values are."""

    blobs: BlobStore
    reader: Reader


class Written(NamedTuple):
    """A body that is in the store."""

    body: common_pb2.BlobRef
    blobs: list[common_pb2.BlobRef]
    """What the worker needs besides."""
    has_blobs: bool
    """Whether that is more than is named here."""


class LargeBody:
    """The body of a chunk of one run, while it is written. Of one thread after the other."""

    def __init__(self, run: Run, head: bytes, place: Place) -> None:
        """Begin with `head`, a body without inputs, and go on with the inputs of `run`."""
        self.run, self.epoch = run, run.epoch
        self._inputs = run.inputs or []
        self._bare = run.template.encoding == BARE_ENCODING
        self._head = head
        self._reader = place.reader
        about = len(head) + run.input_bytes + INPUT_OVERHEAD * len(self._inputs)
        self.ref = common_pb2.BlobRef(name=inputs_name(run.run_id, run.epoch), size=about)
        self.incoming = place.blobs.receive(self.ref)
        self._seen, self._size, self._next = xxhash.xxh3_64(), 0, 0
        self._named: list[common_pb2.BlobRef] = []
        self._has_blobs = False

    @property
    def over(self) -> bool:
        """Whether no agent needs it any more."""
        return self.run.epoch != self.epoch or self.run.state not in HELD

    def step(self) -> Written | None:
        """Write a piece; returns what came of all of them after the last. Blocks.

        Raises:
            PayloadMissing: An upstream run is not in the database.
            StorageFull: There is no room for it.
            StorageUnavailable: The database does not answer, or the store.
        """
        if not self._size:
            self._write(self._head)
        if self._next < len(self._inputs):
            self._write(self._piece(self._inputs[self._next : self._next + INPUTS_PER_PIECE]))
            return None
        self.ref.size, self.ref.checksum = self._size, self._seen.intdigest()
        self.incoming.finish()
        return Written(self.ref, self._named, self._has_blobs)

    def _write(self, data: bytes) -> None:
        self.incoming.write(data)
        self._seen.update(data)
        self._size += len(data)

    def _piece(self, inputs: Sequence[Input]) -> bytes:
        inputs = _first_of(inputs)
        absent = [
            upstream_id
            for upstream_id, result, outcome in inputs
            if isinstance(result, int) or isinstance(outcome, int)
        ]
        loaded: StoredPayloads = self._reader.payloads([], absent) if absent else NOTHING_LOADED
        body = pb.ChunkBody()
        writer = InputWriter(body, loaded, bare=self._bare, alone=True)
        writer.write(0, inputs)
        self._name(writer.blobs)
        self._next += len(inputs)
        return body.SerializeToString(deterministic=True)

    def _name(self, blobs: list[common_pb2.BlobRef]) -> None:
        if not self._has_blobs:
            self._named += blobs
            if len(self._named) > MOST_NAMED:
                self._named, self._has_blobs = [], True


class LargeBodies:
    """Those that agents have got, or are about to."""

    def __init__(self) -> None:
        """Have none."""
        self.place: Place | None = None
        """Known from when on agents are served."""
        self.known: dict[str, LargeBody] = {}
        self._complained_at = float("-inf")
        self._places = asyncio.Semaphore(WRITTEN_AT_ONCE)

    def __len__(self) -> int:
        """Return how many there are."""
        self.forget()
        return len(self.known)

    async def add(self, run: Run, head: bytes) -> Written:
        """Store the body of a run's chunk, which begins with `head`.

        Raises:
            PayloadMissing: An upstream run is not in the database.
            StorageFull: There is no room for it.
            StorageUnavailable: The database does not answer, or the store, or the run is over meanwhile.
        """
        if self.place is None:
            raise StorageUnavailable("the store of blobs is not open yet")
        async with self._places:
            body = LargeBody(run, head, self.place)
            try:
                while (written := await asyncio.to_thread(body.step)) is None:
                    if body.over:
                        raise StorageUnavailable("nobody needs these inputs any more")
            except StorageFull as error:
                self._complain(body.ref.size, error)
                raise
            finally:
                # Of what is finished there is nothing to discard.
                asyncio.get_running_loop().run_in_executor(None, body.incoming.discard)
        self.known[body.ref.name] = body
        return written

    def _complain(self, size: int, error: StorageFull) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._complained_at >= SILENT_SECONDS:  # it is tried each second
            self._complained_at = now
            log.warning("inputs of a run, some %d bytes, wait for room: %s", size, error)

    def forget(self) -> None:
        """Let go of those that no agent needs any more, and have their bytes removed."""
        over = [name for name, body in self.known.items() if body.over]
        for name in over:
            del self.known[name]
        if over and self.place is not None:
            asyncio.get_running_loop().run_in_executor(None, _remove, self.place.blobs, over)


def _remove(blobs: BlobStore, names: list[str]) -> None:
    try:
        for name in names:
            blobs.remove_unused(name, None)
    except TaskyardError as error:
        log.warning("inputs of runs in %s cannot be removed, they go after a day: %s", blobs.url, error)


def _first_of(inputs: Sequence[Input]) -> Sequence[Input]:
    """Return the first of some inputs, as many as fit into one piece; at least one."""
    size = 0
    for position, (_, result, outcome) in enumerate(inputs):
        size += size_of(result) + size_of(outcome) + INPUT_OVERHEAD
        if size > PART_BYTES and position:
            return inputs[:position]
    return inputs
