"""What a run gets from very many upstream runs: which these are, and how large that is. Pure.

The values are in the database and are read when they are sent on. 24 bytes are kept for each, whatever it is;
an ordinary input takes ten times as much beside its value.
"""

from array import array
from collections.abc import Iterable, Iterator
from typing import Final

from taskyard_controlplane.domain.memory import Input, size_of

ID_BYTES: Final = 16
MANY_INPUTS: Final = 8_192
"""A run with more of them has them like this, and gets them as a file: to write a message of so many takes
the owner's loop some 8 ms."""


class ManyInputs:
    """Inputs of one run, in the order in which they came; reads as if they were listed by size."""

    __slots__ = ("_ids", "_sizes")

    def __init__(self, inputs: Iterable[Input] = ()) -> None:
        """Keep what is known of some inputs."""
        self._ids = bytearray()
        self._sizes = array("Q")
        for each in inputs:
            self.append(each)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._sizes)

    def append(self, one: Input) -> None:
        """Add one."""
        upstream_id, result, outcome = one
        self._ids += upstream_id
        self._sizes.append(size_of(result if outcome is None else outcome))

    def __iter__(self) -> Iterator[Input]:
        """Iterate over all, each as one that is only in the database."""
        for position, size in enumerate(self._sizes):
            yield self._id(position), size, None

    def __getitem__(self, part: slice) -> list[Input]:
        """Return some of them."""
        return [(self._id(at), self._sizes[at], None) for at in range(*part.indices(len(self)))]

    def _id(self, position: int) -> bytes:
        return bytes(self._ids[position * ID_BYTES : (position + 1) * ID_BYTES])
