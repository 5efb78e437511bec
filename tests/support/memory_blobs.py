"""The store in memory, as tests of retention use it: they put blobs there, and let it fail."""

from taskyard_contract.errors import StorageUnavailable
from taskyard_controlplane.blobs.memory import MemoryStore


class MemoryBlobs(MemoryStore):
    """A `MemoryStore` whose clock is the test's."""

    broken: StorageUnavailable | None = None

    def put(self, name: str, size: int = 1, at_us: int | None = None) -> str:
        """Have a blob, stored now or at a time."""
        self.blobs[name] = bytes(size), self.now_us() if at_us is None else at_us
        return name

    def remove_unused(self, name: str, since_us: int | None) -> bool:
        if self.broken is not None:
            raise self.broken
        return super().remove_unused(name, since_us)
