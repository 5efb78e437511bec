"""What retention asks of the store that has the bytes of blobs. Every method blocks, and is used in
threads.
"""

from collections.abc import Iterator
from typing import Protocol


class BlobBytes(Protocol):
    """A store of bytes, as far as it forgets them.

    Its methods may raise `OSError` or `TaskyardError`: it is tried again later.
    """

    @property
    def url(self) -> str:
        """Where it is, for people."""
        ...

    def remove_unused(self, name: str, since_us: int | None) -> bool:
        """Remove a blob, unless it was stored, or found to be there, after a time of the store's own clock;
        says whether there is none now.
        """
        ...

    def list(self, after: str = "") -> Iterator[tuple[str, int, int]]:
        """Iterate over name, size, and when it was stored or found, in microseconds of the store's clock."""
        ...

    def now_us(self) -> int:
        """Return what the store's own clock says."""
        ...

    def free_bytes(self) -> int | None:
        """Return how much more it can take; None where nobody knows."""
        ...
