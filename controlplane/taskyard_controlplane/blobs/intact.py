"""Whether a store still has what was stored, asked before somebody is told that it has. Blocks."""

from collections import OrderedDict
from typing import Final

from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs.names import name_of
from taskyard_contract.errors import BlobNotFound, DigestMismatch, StorageUnavailable
from taskyard_controlplane.blobs.interface import BlobStore
from taskyard_controlplane.blobs.receiving import check_of

_REMEMBERED: Final = 10_000


class Intact:
    """Looks at blobs of a store. What is near is read, once; of what is far, only the size is asked for."""

    def __init__(self, store: BlobStore) -> None:
        """Look at the blobs of `store`."""
        self._store = store
        self._read: OrderedDict[str, None] = OrderedDict()

    def __call__(self, ref: common_pb2.BlobRef) -> bool:
        """Say whether a blob is what was stored. Of a store that does not answer nobody knows, so it is."""
        name = name_of(ref)
        try:
            if self._store.missing([name]) or self._store.size(name) != ref.size:
                return False
            return name in self._read or self._store.directory is None or self._is_right(name, ref)
        except (BlobNotFound, DigestMismatch):  # removed, or cut short, while it was read
            return False
        except StorageUnavailable:
            return True

    def _is_right(self, name: str, ref: common_pb2.BlobRef) -> bool:
        check = check_of(ref)
        for part in self._store.read(name):
            check.update(part)
        if check.is_right():
            self._read[name] = None
            if len(self._read) > _REMEMBERED:
                self._read.popitem(last=False)
            return True
        return False
