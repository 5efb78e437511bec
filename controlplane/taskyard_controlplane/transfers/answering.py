"""Grants of transfers: what `BlobService.GrantTransfers` does.

Whoever was granted a blob is about to use it: it is not removed meanwhile. What he stores past the control
plane he asks for afterwards (`FindMissingBlobs`), and is told to store it again if it was removed at the same
time. Both as with UploadBlob; `leaving_blobs` says why.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from taskyard_api.v1 import blob_service_pb2 as pb
from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs.names import check_blob_name, check_stored_name, name_of
from taskyard_contract.errors import InvalidRequest
from taskyard_controlplane.domain.namespaces import check_namespace
from taskyard_controlplane.owner.leaving_blobs import LeavingBlobs
from taskyard_controlplane.owner.queueing.checks import check_digest, check_size
from taskyard_controlplane.reading.background import Background
from taskyard_controlplane.transfers.granting import Granting

MAX_GRANTED: Final = 100
"""Of one request: each may take a question to a provider."""


class GrantedTransfers:
    """Answers who asks how blobs may be moved."""

    def __init__(
        self,
        leaving: Callable[[], LeavingBlobs],
        granting: Granting,
        writing: Background,
        max_payload_bytes: int,
    ) -> None:
        """Ask `granting` on the threads of `writing`; `leaving` is what is removed, of an owner here."""
        self._leaving = leaving
        self._granting = granting
        self._writing = writing
        self._max_payload_bytes = max_payload_bytes

    async def grant(self, request: pb.GrantTransfersRequest) -> pb.GrantTransfersResponse:
        """Say which of some blobs may be moved past the control plane, and where to.

        Raises:
            InvalidRequest, PayloadTooLarge: The request names what cannot be a blob.
        """
        check_namespace(request.namespace)
        count = len(request.reads) + len(request.writes)
        if count > MAX_GRANTED:
            text = f"the request names {count} blobs; send at most {MAX_GRANTED}"
            raise InvalidRequest(text, limit=MAX_GRANTED, field="reads")
        for at, ref in enumerate(request.reads):
            self._check(ref, f"reads[{at}]", check_blob_name)
        for at, ref in enumerate(request.writes):
            self._check(ref, f"writes[{at}]", check_stored_name)
        leaving = self._leaving()
        going = leaving.told(map(name_of, request.reads))
        reads = [ref for ref in request.reads if name_of(ref) not in going]
        await _stay(leaving, map(name_of, request.writes))
        return pb.GrantTransfersResponse(
            reads=await self._granted(self._granting.read, reads),
            writes=await self._granted(self._granting.write, request.writes),
        )

    def _check(self, ref: common_pb2.BlobRef, field: str, check_name: Callable[[str, str], str]) -> None:
        if ref.name:
            check_name(ref.name, f"{field}.name")
        else:
            check_digest(ref.digest, f"{field}.digest")
        check_size(ref.size, self._max_payload_bytes, f"{field}.size")

    async def _granted(
        self, ask: Callable[[common_pb2.BlobRef], pb.TransferGrant | None], refs: Sequence[common_pb2.BlobRef]
    ) -> list[pb.TransferGrant]:
        asked = await asyncio.gather(*(self._writing(ask, ref) for ref in refs))
        return [grant for grant in asked if grant is not None]


async def _stay(leaving: LeavingBlobs, names: Iterable[str]) -> None:
    """Wait until nothing is removed of what is about to be stored, and have it stay from then on."""
    for name in names:
        while leaving.told([name]):
            await leaving.gone(name)
