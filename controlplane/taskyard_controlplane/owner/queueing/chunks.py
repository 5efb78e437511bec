"""Assigned runs -> the messages that agents pass to their workers unopened."""

from collections.abc import Iterable

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import common_pb2
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.queueing.ready_queues import caller_of


def write_chunk(template_index: int, first_epoch: int, runs: list[Run]) -> pb.AssignChunk:
    """Write the assignment of some runs."""
    body = pb.ChunkBody(args=[run.args or b"" for run in runs], ordinals=[run.ordinal for run in runs])
    chunk = pb.AssignChunk(
        first_epoch=first_epoch,
        template=template_index,
        run_ids=b"".join([run.run_id for run in runs]),
        nested=bool(caller_of(runs[0])),
    )
    flow = runs[0].flow
    if flow is not None:
        body.flow_run_id = flow.run_id
        body.flow_run_name = flow.shown_name
    for position, run in enumerate(runs):
        if run.inputs is not None:
            _write_inputs(chunk, body, position, run.inputs)
        if run.attempt > 1 or run.cache_key is not None or run.name or run.caller_id or run.args_blob:
            _write_extra(chunk, body, position, run)
    chunk.body = body.SerializeToString()
    return chunk


def _write_inputs(
    chunk: pb.AssignChunk,
    body: pb.ChunkBody,
    position: int,
    inputs: Iterable[tuple[bytes, bytes | None, bytes | None]],
) -> None:
    for upstream_id, result, outcome in inputs:
        body.input_positions.append(position)
        body.input_ids.append(upstream_id)
        body.inputs.append(result or b"")
        if outcome is not None:
            other = body.others.add()
            other.MergeFromString(outcome)
            # A result taken from the cache, or a shared one, names the run it came from.
            other.run_id = upstream_id
            if other.result.HasField("blob"):
                chunk.blobs.append(other.result.blob)


def _write_extra(chunk: pb.AssignChunk, body: pb.ChunkBody, position: int, run: Run) -> None:
    extra = body.extras.add(
        position=position,
        attempt=run.attempt,
        cache_key_decided=run.cache_decided,
        cache_key=run.cache_key or "",
        name=run.name or "",
        caller_run_id=run.caller_id or b"",
    )
    if run.args_blob is not None:
        blob = common_pb2.BlobRef.FromString(run.args_blob)
        extra.args.CopyFrom(blob)
        chunk.blobs.append(blob)
