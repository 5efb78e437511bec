"""What has to be true of submitted runs and blobs before anything is done with them, by whatever door

There are two: batches on a session's stream, as columns, and unary calls with a message for each run. Both
are checked here, once, so that the same mistake is refused in the same words. What passes is well formed;
whether it is acceptable (ids that exist, upstream runs that do not, room) is for `Submission` and the
database to say.

A malformed batch on a stream is a defect of the client and ends the stream; a malformed unary call is refused
as a whole. Neither leaves anything behind.
"""

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from taskyard_api.v1 import common_pb2, run_service_pb2
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.blobs.names import check_stored_name, is_result
from taskyard_contract.errors import DigestMismatch, InvalidRequest, PayloadTooLarge, RunExists
from taskyard_contract.ids import ID_BYTES, are_run_ids, format_id
from taskyard_contract.states import RunKind, UpstreamKind
from taskyard_controlplane.domain.model import Template
from taskyard_controlplane.owner.peers.frame_limits import check_name
from taskyard_controlplane.owner.rules.flow_reports import check_report
from taskyard_controlplane.owner.rules.labels import check_label

MAX_RUNS: Final = 1_000
MAX_VALUES: Final = 10_000
"""Most blobs that the arguments of one run refer to: each is a row, and a file to be mapped."""
"""Most runs of a unary call: each is a message of its own, and is read on the event loop."""
DIGEST_BYTES: Final = 32
"""Blobs are named by the SHA-256 of their content."""
LARGEST_ORDINAL: Final = 2**31 - 1
"""What an INTEGER of PostgreSQL holds."""
_ID_SIZES: Final = frozenset({ID_BYTES})
NEW_ID: Final = "the id of a new run is a UUID of version 7 whose last two bytes, its shard, are 0"
UNSUPPORTED: Final = ("start_at_us", "expires_at_us", "idempotency_key", "idempotency_window_ms")
"""Fields of a new run, by whatever door, that nothing is done about yet: they have to be empty."""
UPSTREAM_KINDS: Final = frozenset(int(kind) for kind in UpstreamKind if kind)
HASHED_HERE_BYTES: Final = 128 * 1024
"""Hashing this much takes about as long (0.1 to 0.3 ms) as going to a thread and back."""


def check_id(run_id: bytes, field: str = "run_id") -> bytes:
    """Return a run id.

    Raises:
        InvalidRequest: It has another length.
    """
    if len(run_id) != ID_BYTES:
        raise InvalidRequest(f"{field} has {len(run_id)} bytes; a run id has {ID_BYTES}", field=field)
    return run_id


def check_frame(frame: pb.ClientFrame) -> None:
    """Check the ids, times and events that a frame of a client names; groups of runs have their own check.

    Raises:
        InvalidRequest: An id has another length, or a report says what cannot be.
    """
    if frame.requested_by:
        check_name("requested_by", frame.requested_by)
    for run_id in frame.subscribe:
        check_id(run_id, "subscribe")
    for run_id in frame.cancel:
        check_id(run_id, "cancel")
    for run_id in frame.withdraw:
        check_id(run_id, "withdraw")
    for report in frame.flow_reports:
        check_id(report.run_id, "flow_reports.run_id")
        check_report(report)
    for position, world in enumerate(frame.worlds):
        if len(world.id) != ID_BYTES:
            raise InvalidRequest(
                f"worlds[{position}].id: it has {len(world.id)} bytes, and has to have {ID_BYTES}",
                field=f"worlds[{position}].id",
            )


def check_digest(digest: bytes, field: str) -> bytes:
    """Return a digest.

    Raises:
        InvalidRequest: It is not a SHA-256.
    """
    if len(digest) != DIGEST_BYTES:
        raise InvalidRequest(f"{field} has {len(digest)} bytes; a SHA-256 has {DIGEST_BYTES}", field=field)
    return digest


def check_ref(ref: common_pb2.BlobRef, field: str) -> None:
    """Check a reference to a blob that came with a submission.

    Raises:
        InvalidRequest: It has no name, or one that could be a path, or that of a result: which blob a run has
            returned is for its own report to say.
    """
    if not ref.name:
        check_digest(ref.digest, f"{field}.digest")
    elif is_result(check_stored_name(ref.name, f"{field}.name")):
        raise InvalidRequest(
            f"{field}.name is {ref.name}, which only the report of that run may name; make it an upstream "
            "run, or store the value under its hash",
            field=f"{field}.name",
        )


def check_refs(payload: common_pb2.Payload, field: str) -> None:
    """Check all references to blobs in a payload.

    Raises:
        InvalidRequest: There are too many, or see `check_ref`.
    """
    if payload.HasField("blob"):
        check_ref(payload.blob, f"{field}.blob")
    if len(payload.values) > MAX_VALUES:
        raise InvalidRequest(
            f"{field}.values has {len(payload.values):,} blobs; at most {MAX_VALUES:,} are taken",
            limit=MAX_VALUES,
            field=f"{field}.values",
        )
    for position, value in enumerate(payload.values):
        check_ref(value, f"{field}.values[{position}]")


def check_size(size: int, max_payload_bytes: int, field: str, run_id: bytes = b"") -> None:
    """Check the size of a blob, which `field` of the request says or has, for a run if there is one.

    Raises:
        PayloadTooLarge: It is above the limit.
    """
    if size > max_payload_bytes:
        raise _beyond_all(size, max_payload_bytes, run_id, field)


def large_blob(extra: pb.RunExtra, max_payload_bytes: int, run_id: bytes) -> PayloadTooLarge | None:
    """Make the refusal of arguments in a blob that is larger than any may be; None when they are not."""
    size = max(extra.args.size, extra.payload.blob.size, *(each.size for each in extra.payload.values))
    return _beyond_all(size, max_payload_bytes, run_id) if size > max_payload_bytes else None


def _beyond_all(size: int, limit: int, run_id: bytes, field: str = "") -> PayloadTooLarge:
    what = field.removesuffix(".size") if run_id and field else "the blob"
    text = f"{what} has {size} bytes, at most {limit} are stored"
    return PayloadTooLarge(
        f"{text}; keep the data elsewhere and pass a reference", run_id=run_id, limit=limit, field=field
    )


async def check_blobs(blobs: Sequence[common_pb2.InlineBlob], max_payload_bytes: int) -> None:
    """Check blobs that came inside another message. Their content is hashed here and nowhere else.

    Raises:
        InvalidRequest: A digest is malformed.
        DigestMismatch: The content has another digest.
        PayloadTooLarge: A blob is too large.
    """
    sizes = [len(blob.data) for blob in blobs]  # once: data is copied whenever it is asked for
    for position, (blob, size) in enumerate(zip(blobs, sizes, strict=True)):
        check_digest(blob.digest, f"blobs[{position}].digest")
        check_size(size, max_payload_bytes, f"blobs[{position}].data")
    if sum(sizes) <= HASHED_HERE_BYTES:
        _check_content(blobs)
    else:
        await asyncio.to_thread(_check_content, blobs)


def _check_content(blobs: Sequence[common_pb2.InlineBlob]) -> None:
    for position, blob in enumerate(blobs):
        if sha256(blob.data).digest() != blob.digest:
            raise DigestMismatch(
                f"blobs[{position}] does not have the digest it was sent under; repeat once",
                field=f"blobs[{position}].digest",
            )


def check_new_runs(
    runs: Sequence[run_service_pb2.NewRun], max_inline_bytes: int, max_payload_bytes: int
) -> None:
    """Check the runs of a unary call.

    Raises:
        InvalidRequest: A field is missing or malformed; the message says of which run.
        PayloadTooLarge: Arguments are too large to be inline, or at all.
    """
    if len(runs) > MAX_RUNS:
        raise InvalidRequest(
            f"the request has {len(runs)} runs; send at most {MAX_RUNS} at once", limit=MAX_RUNS, field="runs"
        )
    seen: set[bytes] = set()
    for position, run in enumerate(runs):
        _check_run(run, f"runs[{position}]", max_inline_bytes, max_payload_bytes)
        if run.run_id in seen:
            raise _wrong(run, f"runs[{position}].run_id", "is in the request twice")
        seen.add(run.run_id)


def _check_run(
    run: run_service_pb2.NewRun, where: str, max_inline_bytes: int, max_payload_bytes: int
) -> None:
    check_id(run.run_id, f"{where}.run_id")
    if not are_run_ids(run.run_id):
        raise _wrong(run, f"{where}.run_id", f"is {format_id(run.run_id)}; {NEW_ID}")
    template = run.template
    if int(template.kind) != RunKind.TASK:
        raise _wrong(run, f"{where}.template.kind", "must be RUN_KIND_TASK; flow runs belong to a session")
    if not template.name:
        raise _wrong(run, f"{where}.template.name", "is empty")
    if not template.HasField("code") or template.code.WhichOneof("location") is None:
        raise _wrong(run, f"{where}.template.code", "says nowhere where the code is")
    check_label(run.args, f"{where}.args")
    size = len(run.args.data)
    if size > max_inline_bytes:
        raise too_large(run.run_id, f"{where}.args", size, max_inline_bytes, f"{where}.args.data")
    check_refs(run.args, f"{where}.args")
    check_size(run.args.blob.size, max_payload_bytes, f"{where}.args.blob.size", run.run_id)
    for position, value in enumerate(run.args.values):
        check_size(value.size, max_payload_bytes, f"{where}.args.values[{position}].size", run.run_id)
    for position, edge in enumerate(run.upstream):
        check_id(edge.run_id, f"{where}.upstream[{position}].run_id")
        if edge.run_id == run.run_id:
            raise _wrong(run, f"{where}.upstream[{position}].run_id", "names the run itself")
        if int(edge.kind) not in UPSTREAM_KINDS:
            raise _wrong(run, f"{where}.upstream[{position}].kind", "says nothing this server knows")
    for field in UNSUPPORTED:
        if getattr(run, field):
            raise not_supported(f"{where}.{field}", run.run_id)


def _wrong(run: run_service_pb2.NewRun, field: str, what: str) -> InvalidRequest:
    return InvalidRequest(f"{field} {what}", run_id=run.run_id, field=field)


def not_supported(field: str, run_id: bytes = b"") -> InvalidRequest:
    """Make the refusal of what the contract has a place for and this release would not do: to leave it out in
    silence would be another run.
    """
    return InvalidRequest(f"{field} is not supported yet; leave it out", run_id=run_id, field=field)


def too_large(run_id: bytes, what: str, size: int, max_inline_bytes: int, field: str = "") -> PayloadTooLarge:
    """Make the refusal of arguments that have to travel as a blob; in a stream no field is said."""
    return PayloadTooLarge(
        f"{what} has {size} bytes, inline are at most {max_inline_bytes}; upload more as a blob",
        run_id=run_id,
        limit=max_inline_bytes,
        field=field,
    )


def submitted_before(run_id: bytes) -> RunExists:
    """Make the refusal of a run whose id another one has."""
    text = f"run {format_id(run_id)} was submitted before; make a new id for every run"
    return RunExists(text, run_id=run_id)


def check_group(group: pb.RunGroup, run_ids: Sequence[bytes], template: Template | None) -> Template:
    """Check the shape of a group on a stream, and return its template, which is known then.

    Every rule is looked at once a group, where it can be, not once a run.

    `run_ids` are those of the group, as a list: whoever asks needs one as well. Sizes of arguments are not
    checked: one run with large arguments is refused, the others are taken.

    Raises:
        InvalidRequest: Columns differ in length, an id is malformed, or the template is unknown.
    """
    if template is None:
        raise InvalidRequest(
            f"a group of runs names template {group.template}, which was not sent on this stream",
            field="submit.groups.template",
        )
    count = len(run_ids)
    if len(group.args) not in (0, count):
        raise _in_group(template, "args", f"has {len(group.args)} entries for {count} runs")
    if group.cache_keys and len(group.cache_keys) != count:
        raise _in_group(template, "cache_keys", f"has {len(group.cache_keys)} entries for {count} runs")
    if not len(group.upstream_positions) == len(group.upstream_ids) == len(group.upstream_kinds):
        raise _in_group(template, "upstream_ids", "and the other upstream columns differ in length")
    if group.upstream_positions and max(group.upstream_positions) >= count:
        raise _in_group(template, "upstream_positions", "has an edge that names a run beyond the group's end")
    if len(set(run_ids)) != count:
        raise _in_group(template, "run_ids", "has an id twice")
    if group.first_ordinal + count > LARGEST_ORDINAL:
        raise _in_group(template, "first_ordinal", f"leads to ordinals above {LARGEST_ORDINAL}")
    if any(len(upstream_id) != ID_BYTES for upstream_id in group.upstream_ids):
        raise _in_group(template, "upstream_ids", f"has an id that is not {ID_BYTES} bytes long")
    if not UPSTREAM_KINDS.issuperset(group.upstream_kinds):
        raise _in_group(template, "upstream_kinds", "has an edge of an unknown kind")
    if not _ID_SIZES.issuperset(map(len, run_ids)):
        raise _in_group(template, "run_ids", f"has an id that is not {ID_BYTES} bytes long")
    if not are_run_ids(b"".join(run_ids)):
        strange = next(run_id for run_id in run_ids if not are_run_ids(run_id))
        raise _in_group(template, "run_ids", f"has the id {format_id(strange)}; {NEW_ID}")
    if group.outlives_session and (group.flow_run_id or group.caller_run_id or template.kind != RunKind.TASK):
        raise _in_group(template, "outlives_session", "is set, and that is for task runs in no flow run")
    if group.flow_run_id:
        check_id(group.flow_run_id, "submit.groups.flow_run_id")
    if group.caller_run_id:
        check_id(group.caller_run_id, "submit.groups.caller_run_id")
    for extra in group.extras:
        _check_extra(group, extra, template, count)
    return template


def _in_group(template: Template, field: str, what: str) -> InvalidRequest:
    return InvalidRequest(f"{field} of a group of '{template.name}' {what}", field=f"submit.groups.{field}")


def _check_extra(group: pb.RunGroup, extra: pb.RunExtra, template: Template, count: int) -> None:
    if extra.position >= count:
        raise _in_group(template, "extras", "has an entry for a run beyond the group's end")
    for field in UNSUPPORTED:
        if getattr(extra, field):
            raise not_supported(f"submit.groups.extras.{field}")
    if extra.HasField("args"):
        check_ref(extra.args, "submit.groups.extras.args")
    if extra.HasField("payload"):
        _check_payload(group, extra, template)


def _check_payload(group: pb.RunGroup, extra: pb.RunExtra, template: Template) -> None:
    check_label(extra.payload, "submit.groups.extras.payload")
    check_refs(extra.payload, "submit.groups.extras.payload")
    beside = extra.HasField("args") or (extra.position < len(group.args) and group.args[extra.position])
    if beside:
        raise _in_group(template, "extras.payload", "is beside other arguments of the same run")
