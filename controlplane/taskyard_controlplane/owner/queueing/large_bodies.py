"""Bodies of chunks with large inputs: put together whenever an agent fetches them.

A run may depend on results that are larger together than any message, and than what memory should hold of
them. Each of them is in the database, and stays as it is. So the body of its chunk is only described here: it
begins with what is small, and goes on with pieces, each of which is read, written and let go again. Read is
what the run's record does not have: of many small results it has all. Agents get the body like a blob, by its
digest, for which all of it is written once before it is assigned. (A message may be cut into pieces that are
messages of the same kind: read one behind the other they are the whole.)

Nothing of this is stored. After a restart nobody knows the digest any more; an agent that asks for it reports
that it did not get its inputs, and the run is assigned anew.
"""

from hashlib import sha256
from typing import Final, NamedTuple

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import common_pb2
from taskyard_contract.payload_limits import PART_BYTES
from taskyard_controlplane.domain.memory import INPUT_OVERHEAD, size_of
from taskyard_controlplane.domain.model import BARE_ENCODING, HELD, Run
from taskyard_controlplane.owner.journal.committer import Committer
from taskyard_controlplane.owner.queueing.chunks import NOTHING_LOADED, InputWriter
from taskyard_controlplane.storage.interface import Store

INPUTS_PER_PIECE: Final = 4_096
"""However small they are: a piece may take as many look-ups."""


class Written(NamedTuple):
    """What came of reading a body once."""

    body: common_pb2.BlobRef
    blobs: list[common_pb2.BlobRef]
    """What the worker needs besides."""


class LargeBody:
    """The body of a chunk of one run."""

    def __init__(self, run: Run, head: bytes) -> None:
        """Begin with `head`, a body without inputs, and go on with the inputs of `run`."""
        self._run, self._epoch = run, run.epoch
        self._bare = run.template.encoding == BARE_ENCODING
        self.head = head
        self.pieces: list[slice] = []
        """Which of the inputs, as many as fit into one piece each."""
        first, size = 0, 0
        inputs = run.inputs or ()
        for position, (_, result, outcome) in enumerate(inputs):
            each = size_of(result) + size_of(outcome) + INPUT_OVERHEAD
            if position > first and (size + each > PART_BYTES or position - first >= INPUTS_PER_PIECE):
                self.pieces.append(slice(first, position))
                first, size = position, 0
            size += each
        self.pieces.append(slice(first, len(inputs)))

    @property
    def over(self) -> bool:
        """Whether no agent needs it any more."""
        return self._run.epoch != self._epoch or self._run.state not in HELD

    def piece(self, store: Store, part: slice) -> tuple[bytes, list[common_pb2.BlobRef]]:
        """Write one piece, and say which blobs it names. Blocks. Nothing is left of a run that has ended."""
        body = pb.ChunkBody()
        inputs = (self._run.inputs or [])[part]
        absent = [
            upstream_id
            for upstream_id, result, outcome in inputs
            if isinstance(result, int) or isinstance(outcome, int)
        ]
        loaded = store.payloads([], absent) if absent else NOTHING_LOADED
        writer = InputWriter(body, loaded, bare=self._bare)
        writer.write(0, inputs)
        return body.SerializeToString(deterministic=True), writer.blobs


class LargeBodies:
    """Those that agents may ask for, by digest."""

    def __init__(self, store: Store, committer: Committer) -> None:
        """Read from `store`, between commits."""
        self._store = store
        self._committer = committer
        self._known: dict[bytes, LargeBody] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        self.forget()
        return len(self._known)

    async def add(self, body: LargeBody) -> Written:
        """Make a body available, and say under which name.

        Raises:
            PayloadMissing: An upstream run is not in the database.
            StorageUnavailable: The database does not answer.
        """
        self.forget()
        seen, size = sha256(body.head), len(body.head)
        blobs: list[common_pb2.BlobRef] = []
        for part in body.pieces:
            data, named = await self._committer.run(lambda part=part: body.piece(self._store, part))  # type: ignore[misc]
            seen.update(data)
            size += len(data)
            blobs += named
        self._known[seen.digest()] = body
        return Written(common_pb2.BlobRef(digest=seen.digest(), size=size), blobs)

    def find(self, digest: bytes) -> LargeBody | None:
        """Return the body of that name, None when there is none."""
        return self._known.get(digest)

    async def read(self, body: LargeBody, part: slice) -> bytes:
        """Return one piece of a body."""
        data, _ = await self._committer.run(lambda: body.piece(self._store, part))
        return data

    def forget(self) -> None:
        """Let go of those that no agent needs any more."""
        for digest in [digest for digest, body in self._known.items() if body.over]:
            del self._known[digest]
