"""What tells a call apart from others: the digest of what would be submitted, made without submitting it.

Invariant: whoever submits the call makes the same bytes, so the control plane makes the same digest of them.
"""

from typing import NamedTuple

from taskyard._engine.definitions.task_definition import TaskDefinition
from taskyard._engine.submission.arguments import pack, pack_large
from taskyard._engine.submission.large_values import LARGE_BYTES, LargeValues
from taskyard._engine.submission.ports import Arguments
from taskyard._engine.submission.scope import Scope
from taskyard._network.session.blobs import pieces_of
from taskyard._network.session.run_groups import Upstream
from taskyard._network.session.session import Session
from taskyard.exceptions import NotPicklable
from taskyard_contract.transport.blob_transfer import ref_of
from taskyard_contract.values.call_digests import call_digest
from taskyard_contract.values.layout import LaidOut


class WrittenCall(NamedTuple):
    """A call as it would be submitted."""

    digest: bytes
    data: bytes
    """The arguments, as far as they are inline."""
    upstream: Upstream


def written_call(
    task: TaskDefinition[..., object], scope: Scope, call: Arguments, shared: Upstream, large: LargeValues
) -> WrittenCall | None:
    """Return what a call would be submitted as; None if nothing could be, because it cannot be pickled.

    Args:
        task: The task.
        scope: Where it is called.
        call: The arguments.
        shared: The upstream runs that it has beside those in its arguments.
        large: Has what several calls share.
    """
    upstream: Upstream = {}
    try:
        data, blobs = _written(task, scope, call, upstream, large)
    except NotPicklable:
        return None  # threads take it all the same; for agents whoever submits it says what is wrong
    upstream = {**shared, **upstream}
    return WrittenCall(call_digest(data, blobs, upstream.items()), data, upstream)


def _written(
    task: TaskDefinition[..., object],
    scope: Scope,
    call: Arguments,
    upstream: Upstream,
    large: LargeValues,
) -> tuple[bytes, list[str]]:
    """Write arguments as `submission.packing` does; for threads, which write none, apart from large ones."""
    if task.is_remote:
        from taskyard._engine.submission.json_arguments import pack_json  # only few programs need it

        data: bytes | LaidOut = pack_json(task.name, *call, upstream)
    elif not large.has_shared:
        data = pack(task.name, *call, upstream)
    else:
        data = b""
    if scope.executor is not None:
        return (data if isinstance(data, bytes) else b"".join(pieces_of(data)[0])), []
    blobs: list[str] = []
    if large.has_shared or (not task.is_remote and (not isinstance(data, bytes) or len(data) >= LARGE_BYTES)):
        data, refs = pack_large(task.name, call, upstream, None, large)
        blobs = [ref.name for ref in refs]
    assert isinstance(data, bytes)
    if len(data) > scope.session.max_inline_bytes:
        return b"", [*blobs, ref_of(data).name]
    return data, blobs


def digest_of_parameters(data: bytes, session: Session) -> bytes:
    """Return the digest of a call of a flow, whose parameters are recorded as `data`."""
    if len(data) > session.max_inline_bytes:
        return call_digest(b"", [ref_of(data).name], ())
    return call_digest(data, (), ())
