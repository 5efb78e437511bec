"""Assigned runs as the agent's main process keeps them: unopened, in pieces of chunks. Pure.

Invariant: every run in hand is in exactly one piece, and a piece is in exactly one place: the queue, a
worker, or on its way from or to the blob store.
"""

from collections import deque
from collections.abc import Iterator

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import template_pb2
from taskyard_contract.ids import ID_BYTES

CARVE_BYTES = 16 * 1024
"""Bodies up to this size travel whole, even for a part of their runs."""


class Template:
    """A template under an index of the agent's own, which outlives streams."""

    __slots__ = ("definition", "digest", "encoded", "index", "timeout")

    def __init__(self, index: int, definition: template_pb2.TemplateDefinition) -> None:
        """Take over a definition."""
        self.index = index
        self.definition = definition
        self.encoded = definition.SerializeToString()
        self.timeout = definition.template.timeout_ms / 1000
        self.digest = definition.template.code.blob_digest


class Source:
    """A chunk as it was assigned; `body` stays unopened unless a part of a large one is split off."""

    __slots__ = ("_parsed", "blobs", "body", "body_digest", "first_epoch", "ids", "nested", "template")

    def __init__(
        self, template: Template, first_epoch: int, ids: bytes, body: bytes, blobs: tuple[bytes, ...] = ()
    ) -> None:
        """Keep a chunk; run i has the i-th id and epoch ``first_epoch + i``."""
        self.template = template
        self.first_epoch = first_epoch
        self.ids = ids
        self.body = body
        self.blobs = blobs
        self.body_digest = b""  # the blob the body comes from, when it is too large for a frame
        self.nested = False
        self._parsed: pb.ChunkBody | None = None

    def __len__(self) -> int:
        """Return the number of runs."""
        return len(self.ids) // ID_BYTES

    def ids_of(self, start: int, count: int) -> bytes:
        """Return the concatenated ids of some runs."""
        return self.ids[start * ID_BYTES : (start + count) * ID_BYTES]

    def carve(self, start: int, stop: int) -> "Source":
        """Return some of the runs as a chunk of its own."""
        if self._parsed is None:
            self._parsed = pb.ChunkBody.FromString(self.body)
        body = carve_body(self._parsed, start, stop)
        ids = self.ids_of(start, stop - start)
        carved = Source(self.template, self.first_epoch + start, ids, body.SerializeToString(), self.blobs)
        carved.nested = self.nested
        return carved


def carve_body(body: pb.ChunkBody, start: int, stop: int) -> pb.ChunkBody:
    """Return the part of a body that concerns the runs from `start` to before `stop`."""
    part = pb.ChunkBody(
        flow_run_id=body.flow_run_id,
        flow_run_name=body.flow_run_name,
        args=body.args[start:stop],
        ordinals=body.ordinals[start:stop],
    )
    for position, run_id, data in zip(body.input_positions, body.input_ids, body.inputs, strict=True):
        if start <= position < stop:
            part.input_positions.append(position - start)
            part.input_ids.append(run_id)
            part.inputs.append(data)
    needed = set(part.input_ids)
    part.others.extend(outcome for outcome in body.others if outcome.run_id in needed)
    for extra in body.extras:
        if start <= extra.position < stop:
            part.extras.add().CopyFrom(extra)
            part.extras[-1].position = extra.position - start
    return part


class Piece:
    """Consecutive runs of a chunk that have not been reported."""

    __slots__ = ("number", "revoking", "source", "start", "stop", "strikes", "unwanted")

    def __init__(self, source: Source, start: int, stop: int, strikes: int = 0) -> None:
        """Hold the runs from `start` to before `stop`."""
        self.source = source
        self.start = start
        self.stop = stop
        self.number = 0
        self.strikes = strikes
        self.revoking = False
        self.unwanted: dict[int, bool] = {}  # position -> whether to confirm its end as a cancellation

    def __len__(self) -> int:
        """Return the number of runs."""
        return self.stop - self.start

    def key(self, position: int) -> pb.RunKey:
        """Name a run."""
        return pb.RunKey(run_id=self.source.ids_of(position, 1), epoch=self.source.first_epoch + position)

    def run_keys(self) -> Iterator[pb.RunKey]:
        """Name all runs."""
        return (self.key(position) for position in range(self.start, self.stop))

    def find(self, key: pb.RunKey) -> int | None:
        """Return a run's position, None when it is not here."""
        position = key.epoch - self.source.first_epoch
        if self.start <= position < self.stop and self.source.ids_of(position, 1) == key.run_id:
            return position
        return None

    def part(self, start: int, stop: int) -> "Piece":
        """Return some of the runs as a piece of their own."""
        return Piece(self.source, start, stop, self.strikes)

    def wanted(self) -> "list[Piece]":
        """Return what is left without the unwanted runs."""
        rest, start = [], self.start
        for position in sorted(self.unwanted):
            if start <= position < self.stop:
                rest.append(self.part(start, position))
                start = position + 1
        rest.append(self.part(start, self.stop))
        return [part for part in rest if len(part)]

    def slimmed(self) -> "Piece":
        """Return the same runs, without carrying a large body of others along."""
        source = self.source
        if len(source.body) <= CARVE_BYTES or len(self) * 2 >= len(source):
            return self
        carved = source.carve(self.start, self.stop)
        return Piece(carved, 0, len(carved), self.strikes)


class PieceQueue:
    """Pieces that no worker has yet: what other runs wait for, the latest first, then the rest in order."""

    def __init__(self) -> None:
        """Start empty."""
        self._nested: deque[Piece] = deque()
        self._others: deque[Piece] = deque()
        self.runs = 0

    def __iter__(self) -> Iterator[Piece]:
        """Iterate over the pieces."""
        yield from self._nested
        yield from self._others

    @property
    def nested(self) -> int:
        """How many runs are here that other runs wait for."""
        return sum(map(len, self._nested))

    def add(self, piece: Piece) -> None:
        """Put a piece where its kind goes."""
        if piece.source.nested:
            self.put_back([piece])
        elif len(piece):
            self._others.append(piece)
            self.runs += len(piece)

    def put_back(self, pieces: list[Piece]) -> None:
        """Put pieces that had left the queue back to its front, in their order."""
        for piece in reversed(pieces):
            if len(piece):
                (self._nested if piece.source.nested else self._others).appendleft(piece)
                self.runs += len(piece)

    def take(self, limit: int, nested_only: bool = False) -> Piece | None:
        """Take a piece of at most `limit` runs from the front."""
        pieces = self._nested if self._nested or nested_only else self._others
        if not pieces:
            return None
        piece = pieces.popleft()
        self.runs -= len(piece)
        if len(piece) > limit:
            self.put_back([piece.part(piece.start + limit, piece.stop)])
            piece = piece.part(piece.start, piece.start + limit)
        return piece

    def take_last(self, count: int) -> list[Piece]:
        """Take up to `count` of the runs that nobody here waits for, from the end."""
        taken: list[Piece] = []
        while count > 0 and self._others:
            piece = self._others.pop()
            self.runs -= len(piece)
            if len(piece) > count:
                self.add(piece.part(piece.start, piece.stop - count))
                piece = piece.part(piece.stop - count, piece.stop)
            count -= len(piece)
            taken.append(piece)
        return taken

    def remove(self, key: pb.RunKey) -> bool:
        """Remove one run; returns whether it was here."""
        for pieces in (self._nested, self._others):
            for index, piece in enumerate(pieces):
                position = piece.find(key)
                if position is not None:
                    del pieces[index]
                    self.runs -= 1
                    halves = [piece.part(piece.start, position), piece.part(position + 1, piece.stop)]
                    for half in reversed([half for half in halves if len(half)]):
                        pieces.insert(index, half)
                    return True
        return False

    def clear(self) -> list[Piece]:
        """Take everything."""
        taken = list(self)
        self._nested.clear()
        self._others.clear()
        self.runs = 0
        return taken
