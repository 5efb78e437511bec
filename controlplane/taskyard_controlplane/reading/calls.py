"""What the body of a flow run has called, for programs that execute it once more and ask what is done.

Calls are told apart by a digest of what they were submitted with (`call_digests`), so no argument leaves the
database: ten thousand calls are half a megabyte, however large their arguments are. Nothing is decoded.
"""

from typing import Any, Final, cast

from taskyard_api.v1 import common_pb2, run_service_pb2
from taskyard_contract.errors import RunNotFound
from taskyard_contract.ids import format_id
from taskyard_contract.states import RunKind
from taskyard_contract.values.call_digests import call_digest
from taskyard_contract.wire_text import bounded
from taskyard_controlplane.domain.edges import awaited, split_edges
from taskyard_controlplane.reading.background import Background
from taskyard_controlplane.reading.messages import template_of
from taskyard_controlplane.storage.interface import CalledRun, Reader

MOST_CALLS: Final = 2_000
"""In one page."""
READ_AT_ONCE: Final = 250
"""Each has up to 64 KiB of arguments, which are in memory while digests are made of them."""


class CallReader:
    """Reads what flow runs have called, page by page."""

    def __init__(self, reader: Reader, background: Background) -> None:
        """Read from a database; `background` is where reads block."""
        self._reader = reader
        self._background = background

    async def page(
        self, flow_run_id: bytes, beyond: int | None
    ) -> tuple[run_service_pb2.ListCallsResponse, int | None]:
        """Return calls beyond a position, and the position behind them; None at the end.

        Raises:
            RunNotFound: There is no such run.
        """
        flow = await self._background(self._reader.run, flow_run_id)
        if flow is None:
            raise RunNotFound(f"there is no run {format_id(flow_run_id)}", run_id=flow_run_id)
        page, after = _Page(), beyond or 0
        for _ in range(MOST_CALLS // READ_AT_ONCE):
            found = await self._background(self._read, page, flow.run.seq, after)
            if len(found) < READ_AT_ONCE:
                return page.message, None
            after = found[-1].seq
        return page.message, after

    def _read(self, page: "_Page", flow_seq: int, after: int) -> list[CalledRun]:
        found = self._reader.calls(flow_seq, after, READ_AT_ONCE)
        for call in found:
            page.add(call)
        return found


class _Page:
    """A page in the making."""

    def __init__(self) -> None:
        self.message = run_service_pb2.ListCallsResponse()
        self._indices: dict[bytes, int] = {}

    def add(self, call: CalledRun) -> None:
        message = self.message
        index = self._indices.get(call.definition)
        if index is None:
            index = self._indices[call.definition] = len(self._indices)
            message.templates.append(template_of(call.definition))
        message.run_ids.append(call.run_id)
        message.template_indices.append(index)
        message.states.append(cast(Any, call.state))
        message.digests.append(digest_of(call, int(message.templates[index].kind)))
        message.ordinals.append(call.ordinal)
        message.have_arguments.append(bool(call.args or call.args_blob))


def digest_of(call: CalledRun, kind: int) -> bytes:
    """Return the digest of what a run was called with.

    Where values came from plays no role, only what they are: of flows all upstream runs say no more, because
    they are called with values.
    """
    label = common_pb2.Payload.FromString(call.args_blob or b"")
    blobs = [ref.name for ref in label.values]
    if label.HasField("blob"):
        blobs.append(label.blob.name)
    edges = [] if kind == RunKind.FLOW else awaited(split_edges(call.upstream or b""))
    return call_digest(call.args or b"", map(bounded, blobs), edges)
