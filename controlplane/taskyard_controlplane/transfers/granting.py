"""Which ways past the control plane there are, and which of them a blob takes: the first that takes it."""

from collections.abc import Callable, Sequence

from taskyard_api.v1 import blob_service_pb2, common_pb2
from taskyard_contract.errors import StorageUnavailable
from taskyard_controlplane.blobs.interface import BlobStore
from taskyard_controlplane.blobs.places import OBJECTS
from taskyard_controlplane.transfers.interface import Grants


class Granting:
    """Several `Grants`, in the order in which they are asked. Blocks; thread-safe."""

    def __init__(self, ways: Sequence[Grants]) -> None:
        """Ask these; without any all blobs go through the control plane."""
        self._ways = ways

    def read(self, ref: common_pb2.BlobRef) -> blob_service_pb2.TransferGrant | None:
        """Let somebody read a blob past the control plane; None: it has to be read through it."""
        return _first([way.read for way in self._ways], ref)

    def write(self, ref: common_pb2.BlobRef) -> blob_service_pb2.TransferGrant | None:
        """Let somebody store a blob past the control plane; None: it has to be sent through it."""
        return _first([way.write for way in self._ways], ref)


def ways_past(store: BlobStore, endpoint: str = "") -> list[Grants]:
    """Return what a store of blobs itself can grant.

    Args:
        store: The store.
        endpoint: Where others reach object storage, if not where this process does.

    Raises:
        ValueError: Its provider has no endpoints, or not this one.
    """
    if store.url.partition(":")[0] not in OBJECTS:
        return []
    # Only who keeps blobs in object storage has what it needs.
    from taskyard_controlplane.blobs.objects import ObjectStore
    from taskyard_controlplane.transfers.signed_objects import SignedObjects

    return [SignedObjects(store, endpoint)] if isinstance(store, ObjectStore) else []


def _first(
    asked: Sequence[Callable[[common_pb2.BlobRef], blob_service_pb2.TransferGrant | None]],
    ref: common_pb2.BlobRef,
) -> blob_service_pb2.TransferGrant | None:
    for ask in asked:
        try:
            grant = ask(ref)
        except StorageUnavailable:
            continue  # said to whoever reads or stores it then
        if grant is not None:
            return grant
    return None
