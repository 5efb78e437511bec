"""A store of bytes in memory, as far as retention uses it."""

from collections.abc import Callable, Iterator


class MemoryBlobs:
    """Names with sizes and times; the clock is the test's."""

    url = "memory:"

    def __init__(self, now_us: Callable[[], int] = lambda: 0) -> None:
        self.files: dict[str, tuple[int, int]] = {}
        self.broken: OSError | None = None
        self._now_us = now_us

    def put(self, name: str, size: int = 1, at_us: int | None = None) -> str:
        self.files[name] = (size, self._now_us() if at_us is None else at_us)
        return name

    def now_us(self) -> int:
        return self._now_us()

    def remove_unused(self, name: str, since_us: int | None) -> bool:
        if self.broken is not None:
            raise self.broken
        if since_us is not None and self.files.get(name, (0, 0))[1] > since_us:
            return False
        self.files.pop(name, None)
        return True

    def list(self, after: str = "") -> Iterator[tuple[str, int, int]]:
        for name, (size, at_us) in sorted(self.files.items()):
            if name > after:
                yield name, size, at_us

    def free_bytes(self) -> int | None:
        return None
