"""Assigned runs -> the messages that agents pass to their workers unopened."""

import sys
from collections.abc import Iterable, Iterator
from typing import Final

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import common_pb2
from taskyard_contract.ids import format_id
from taskyard_contract.states import RunState
from taskyard_controlplane.domain.memory import Input, Kept
from taskyard_controlplane.domain.model import BARE_ENCODING, Run
from taskyard_controlplane.owner.journal.progress import ProgressOfRuns
from taskyard_controlplane.owner.queueing.lanes import MAX_CHUNK_BYTES, SHARED_BYTES
from taskyard_controlplane.storage.interface import StoredPayloads

NOTHING_LOADED: Final = StoredPayloads({}, {})


class PayloadMissing(Exception):
    """The database has no payload where a run needs one."""


def write_chunk(
    template_index: int,
    first_epoch: int,
    runs: list[Run],
    loaded: StoredPayloads = NOTHING_LOADED,
    *,
    with_inputs: bool = True,
    progress: ProgressOfRuns | None = None,
    share: int = 0,
) -> pb.AssignChunk:
    """Write the assignment of some runs.

    Args:
        template_index: The template on the agent's stream.
        first_epoch: The epoch of the first run.
        runs: Runs of one template and flow run.
        loaded: What was read of the payload that they do not have in memory.
        with_inputs: Whether results of upstream runs are part of it.
        progress: What runs said last of their progress in attempts before.
        share: The number of the session whose turns they take.

    Raises:
        PayloadMissing: Something is neither in memory nor in `loaded`.
    """
    caller_id = runs[0].waited_for_by
    args = [run.args or b"" for run in runs]
    if loaded.args:
        args = [loaded.args.get(run.seq, arg) for run, arg in zip(runs, args, strict=True)]
    body = pb.ChunkBody(args=args, ordinals=[run.ordinal for run in runs])  # type: ignore[arg-type]
    chunk = pb.AssignChunk(
        first_epoch=first_epoch,
        template=template_index,
        run_ids=b"".join([run.run_id for run in runs]),
        nested=bool(caller_id),
        caller_run_id=caller_id,
        share=share,
    )
    flow = runs[0].flow
    if flow is not None:
        body.flow_run_id = flow.run_id
        body.flow_run_name = flow.shown_name
    inputs = InputWriter(body, loaded, bare=runs[0].template.encoding == BARE_ENCODING)
    for position, run in enumerate(runs):
        if run.inputs is not None and with_inputs:
            inputs.write(position, run.inputs)
        if (
            run.attempt > 1
            or run.cache_key is not None
            or run.name
            or run.caller_id
            or run.args_blob
            or run.headers
        ):
            _write_extra(chunk, body, position, run)
    if progress:
        _write_progress(body, runs, progress)
    chunk.blobs.extend(inputs.blobs)
    chunk.body = body.SerializeToString()
    return chunk


def parts_of(runs: list[Run], progress: ProgressOfRuns) -> Iterator[list[Run]]:
    """Cut the runs of a chunk so that what is told of progress makes none larger than arguments may."""
    start, size = 0, 0
    for position, run in enumerate(runs):
        told = len(progress.of(run.run_id) or b"")
        if size + told > MAX_CHUNK_BYTES and position > start:
            yield runs[start:position]
            start, size = position, 0
        size += told
    yield runs[start:]


class InputWriter:
    """Adds results of upstream runs to a body, large ones once for all runs that need them."""

    def __init__(
        self, body: pb.ChunkBody, loaded: StoredPayloads, *, bare: bool, alone: bool = False
    ) -> None:
        """Add to `body` what runs have in memory or was `loaded`.

        Args:
            body: Where to add it.
            loaded: What was read from the database.
            bare: Whether its runs take bare results as they are; otherwise each is labelled.
            alone: Whether it is only one run, which shares nothing with others.
        """
        self._body = body
        self._shared_bytes = (sys.maxsize if alone else SHARED_BYTES) if bare else -1
        self._loaded = loaded.outcomes
        self._shared: set[bytes] = set()
        self.blobs: list[common_pb2.BlobRef] = []
        """What workers will have to fetch besides."""

    def write(self, position: int, inputs: Iterable[Input]) -> None:
        """Add the inputs of a run.

        Raises:
            PayloadMissing: One of them is neither in memory nor loaded.
        """
        body = self._body
        positions, ids, values = body.input_positions, body.input_ids, body.inputs
        for upstream_id, result, outcome in inputs:
            positions.append(position)
            ids.append(upstream_id)
            if outcome is None and isinstance(result, bytes) and len(result) <= self._shared_bytes:
                values.append(result)
            else:
                values.append(self._apart(upstream_id, result, outcome))

    def _apart(self, upstream_id: bytes, result: Kept, outcome: Kept) -> bytes:
        """Add an input that is not small and simple; returns what stands in its place."""
        if isinstance(result, int) or isinstance(outcome, int):
            stored = self._loaded.get(upstream_id)
            if stored is None:
                raise PayloadMissing(f"there is no upstream run {format_id(upstream_id)}")
            result, outcome = stored
        if outcome is not None:
            self._other(upstream_id, outcome)
        elif result is not None and len(result) > self._shared_bytes:
            self._labelled(upstream_id, result)
        else:
            return result or b""
        return b""

    def _other(self, upstream_id: bytes, outcome: bytes) -> None:
        if upstream_id in self._shared:
            return
        self._shared.add(upstream_id)
        other = self._body.others.add()
        other.MergeFromString(outcome)
        # A result taken from the cache, or a shared one, names the run it came from.
        other.run_id = upstream_id
        if other.result.HasField("blob"):
            self.blobs.append(other.result.blob)

    def _labelled(self, upstream_id: bytes, result: bytes) -> None:
        if upstream_id not in self._shared:
            self._shared.add(upstream_id)
            self._body.others.add(
                run_id=upstream_id,
                state=RunState.COMPLETED.value,
                result=common_pb2.Payload(encoding=BARE_ENCODING, data=result),
            )


def _write_extra(chunk: pb.AssignChunk, body: pb.ChunkBody, position: int, run: Run) -> None:
    extra = body.extras.add(
        position=position,
        attempt=run.attempt,
        cache_key_decided=run.cache_decided,
        cache_key=run.cache_key or "",
        name=run.name or "",
        caller_run_id=run.caller_id or b"",
    )
    if run.headers is not None:
        extra.MergeFromString(run.headers)
    if run.args_blob is not None:
        payload = common_pb2.Payload.FromString(run.args_blob)
        payload.encoding = payload.encoding or run.template.encoding
        chunk.blobs.extend(payload.values)
        if payload.HasField("blob"):
            chunk.blobs.append(payload.blob)
        else:
            payload.data, body.args[position] = body.args[position], b""
        if payload == common_pb2.Payload(encoding=run.template.encoding, blob=payload.blob):
            extra.args.CopyFrom(payload.blob)
        else:
            extra.payload.CopyFrom(payload)


def _write_progress(body: pb.ChunkBody, runs: list[Run], progress: ProgressOfRuns) -> None:
    """Add what the attempts before said last; most runs have none, and so have no extra either."""
    extras = {extra.position: extra for extra in body.extras}
    for position, run in enumerate(runs):
        told = progress.of(run.run_id)
        if told is None:
            continue
        extra = extras.get(position)
        if extra is None:
            extra = body.extras.add(position=position, attempt=run.attempt)
        extra.last_progress.MergeFromString(told)
