"""Assigned runs as the agent's main process keeps them: unopened, in spans of chunks. Pure.

A `Chunk` is what the server assigned and stays as it came; a `Span` is a part of one that is still to be
executed, and is what moves: from the queue to a worker, back from it, to the blob store. Runs are never
looked at one by one: a span is two numbers, and a run's key is made only for the few that somebody asks
about.
Invariant: every run in hand is in exactly one span, and a span is in exactly one place.
"""

from collections.abc import Iterator
from typing import Final

from taskyard_agent.holding.templates import LocalTemplate
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import common_pb2
from taskyard_contract.ids import ID_BYTES

CARVE_BYTES: Final = 16 * 1024
"""Bodies up to this size travel whole, even for a part of their runs: copying costs less than parsing."""


class Chunk:
    """Runs of one template; `body` stays unopened unless a part of a large one is split off."""

    __slots__ = (
        "_parsed",
        "blobs",
        "body",
        "body_blob",
        "body_has_blobs",
        "caller",
        "depth",
        "first_epoch",
        "ids",
        "in_lane",
        "nested",
        "share",
        "template",
    )

    def __init__(
        self,
        template: LocalTemplate,
        first_epoch: int,
        ids: bytes,
        body: bytes,
        *,
        blobs: tuple[common_pb2.BlobRef, ...] = (),
        nested: bool = False,
        caller: bytes = b"",
        body_blob: common_pb2.BlobRef | None = None,
        body_has_blobs: bool = False,
        share: int = 0,
    ) -> None:
        """Keep a chunk; run i has the i-th id and epoch ``first_epoch + i``.

        Args:
            template: What all its runs have in common.
            first_epoch: The epoch of its first run.
            ids: The runs' ids, concatenated.
            body: The columns of the rest.
            blobs: What must have been fetched before any of it can start.
            nested: Whether other runs wait for these.
            caller: The run that has submitted them, when they are nested and the server says so.
            body_blob: The blob that holds the body, when it is too large for a frame: the worker that
                executes the chunk reads it. `body` then has no inputs, or nothing at all.
            body_has_blobs: Whether it names further ones, to be added to `blobs` when it is here.
            share: The number of the session whose turns they take.
        """
        self.template = template
        self.first_epoch = first_epoch
        self.ids = ids
        self.body = body
        self.blobs = blobs
        self.nested = nested
        self.caller = caller
        self.body_blob = body_blob
        self.body_has_blobs = body_has_blobs
        self.share = share
        self.in_lane = False
        """Whether its runs share a process with others, in which all of them go on together."""
        self.depth = 0
        """Of how many runs that are executed here one waits for the next, and the last for these."""
        self._parsed: pb.ChunkBody | None = None

    @classmethod
    def assigned(cls, message: pb.AssignChunk, template: LocalTemplate) -> "Chunk":
        """Take over what the server assigned."""
        blobs, body_blob = tuple(message.blobs), None
        if message.HasField("body_blob"):
            body_blob = message.body_blob
            blobs = (body_blob, *blobs)
        if template.digest and not template.definition.code:
            blobs = (common_pb2.BlobRef(digest=template.digest), *blobs)
        return cls(
            template,
            message.first_epoch,
            message.run_ids,
            message.body,
            blobs=blobs,
            nested=message.nested,
            caller=message.caller_run_id,
            body_blob=body_blob,
            body_has_blobs=message.body_has_blobs,
            share=message.share,
        )

    def __len__(self) -> int:
        """Return the number of runs."""
        return len(self.ids) // ID_BYTES

    def ids_of(self, start: int, count: int) -> bytes:
        """Return the concatenated ids of some runs."""
        return self.ids[start * ID_BYTES : (start + count) * ID_BYTES]

    def key(self, position: int) -> pb.RunKey:
        """Return a run with its epoch, as messages name it; epochs of a chunk are consecutive."""
        return pb.RunKey(run_id=self.ids_of(position, 1), epoch=self.first_epoch + position)

    def whole(self) -> "Span":
        """Return all of it as one span."""
        return Span(self, 0, len(self))

    def carve(self, start: int, stop: int) -> "Chunk":
        """Return some of the runs as a chunk of its own."""
        if self._parsed is None:
            self._parsed = pb.ChunkBody.FromString(self.body)
        carved = Chunk(
            self.template,
            self.first_epoch + start,
            self.ids_of(start, stop - start),
            carve_body(self._parsed, start, stop).SerializeToString(),
            blobs=self.blobs,
            nested=self.nested,
            caller=self.caller,
            share=self.share,
        )
        carved.in_lane, carved.depth = self.in_lane, self.depth
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


class Span:
    """Consecutive runs of a chunk that have not ended."""

    __slots__ = ("chunk", "start", "stop", "strikes", "unwanted")

    def __init__(self, chunk: Chunk, start: int, stop: int, strikes: int = 0) -> None:
        """Hold the runs from `start` to before `stop`; workers that had them died `strikes` times."""
        self.chunk = chunk
        self.start = start
        self.stop = stop
        self.strikes = strikes
        self.unwanted: dict[int, bool] = {}
        """Positions that must not execute, and whether their end is confirmed as a cancellation."""

    def __len__(self) -> int:
        """Return the number of runs."""
        return self.stop - self.start

    def key(self, position: int) -> pb.RunKey:
        """Return a run with its epoch, as messages name it; epochs of a chunk are consecutive."""
        return self.chunk.key(position)

    def run_keys(self) -> Iterator[pb.RunKey]:
        """Return all runs with their epochs."""
        return (self.chunk.key(position) for position in range(self.start, self.stop))

    def find(self, key: pb.RunKey) -> int | None:
        """Return a run's position, None when it is not here."""
        position = key.epoch - self.chunk.first_epoch
        if self.start <= position < self.stop and self.chunk.ids_of(position, 1) == key.run_id:
            return position
        return None

    def part(self, start: int, stop: int) -> "Span":
        """Return some of the runs as a span of their own, with all that is known of them."""
        part = Span(self.chunk, start, stop, self.strikes)
        if self.unwanted:
            part.unwanted = {at: confirm for at, confirm in self.unwanted.items() if start <= at < stop}
        return part

    def one(self, position: int) -> "Span":
        """Return one run as a span, without what is known of the others."""
        return Span(self.chunk, position, position + 1, self.strikes)

    def without(self, position: int) -> "list[Span]":
        """Return what there is before and after a run."""
        halves = self.part(self.start, position), self.part(position + 1, self.stop)
        return [half for half in halves if len(half)]

    def split_tail(self, first: int) -> "Span | None":
        """Let go of the runs from `first` on; returns them, None when there are none."""
        first = max(first, self.start)
        if first >= self.stop:
            return None
        tail = self.part(first, self.stop)
        self.stop = first
        return tail

    def wanted(self) -> "list[Span]":
        """Return what is left without the unwanted runs."""
        rest, start = [], self.start
        for position in sorted(self.unwanted):
            if start <= position < self.stop:
                rest.append(self.part(start, position))
                start = position + 1
        rest.append(self.part(start, self.stop))
        return [part for part in rest if len(part)]

    def slimmed(self) -> "Span":
        """Return the same runs, without carrying a large body of others along."""
        chunk = self.chunk
        if chunk.body_blob is not None or len(chunk.body) <= CARVE_BYTES or len(self) * 2 >= len(chunk):
            return self
        carved = chunk.carve(self.start, self.stop)
        return Span(carved, 0, len(carved), self.strikes)
