"""How a large value lies in a file: a header, a table, its pickle, and its buffers beside it. Pure.

Pickle gives away the buffers of arrays and frames instead of copying them into its stream. They go into the
file as they are in memory, each at a multiple of 64 bytes, which is what vector instructions want; and
whoever maps the file has the arrays in it, whatever their size, for the price of reading a small pickle.

    0   magic, 8 bytes
    8   version, 4 bytes; number of buffers, 4 bytes
    16  length of the pickle, 8 bytes; length of all, 8 bytes
    32  nothing, 32 bytes
    64  for each buffer its offset and its length, 8 bytes each
    ..  the pickle
    ..  the buffers

Numbers are little-endian. All lengths are known before the first byte is written.
"""

import struct
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

_MAGIC: Final = b"TYvalue\n"
_VERSION: Final = 1
_HEAD: Final = struct.Struct("<8sIIQQ32x")
_ENTRY: Final = struct.Struct("<QQ")
ALIGNMENT: Final = 64


class Damaged(ValueError):
    """Bytes are not what their head says."""


class LaidOut:
    """A value as the pieces that its file consists of. They are the value's own memory: write them soon."""

    __slots__ = ("pieces", "size")

    def __init__(self, stream: Sequence[bytes | memoryview], buffers: Sequence[memoryview]) -> None:
        """Lay out a pickle, which may be in several parts, and the buffers that it leaves out."""
        length = sum(len(part) for part in stream)
        end = _HEAD.size + len(buffers) * _ENTRY.size + length
        ends = list(accumulate(buffers, lambda at, buffer: _aligned(at) + len(buffer), initial=end))
        starts = [_aligned(at) for at in ends[:-1]]
        self.size = ends[-1]
        """Of all pieces together, in bytes."""
        head = [_HEAD.pack(_MAGIC, _VERSION, len(buffers), length, self.size)]
        head += [_ENTRY.pack(start, len(each)) for start, each in zip(starts, buffers, strict=True)]
        self.pieces: list[bytes | memoryview] = [b"".join(head), *stream]
        for at, start, buffer in zip(ends, starts, buffers, strict=False):
            self.pieces += (bytes(start - at), buffer)

    def joined(self) -> bytes:
        """Return all of it as one copy."""
        return b"".join(self.pieces)


def parts_of(data: memoryview) -> tuple[memoryview, list[memoryview]]:
    """Return the pickle and the buffers of what was laid out, as views of it.

    Raises:
        Damaged: It is something else, or not all of it.
    """
    if len(data) < _HEAD.size:
        raise Damaged(f"a stored value has {len(data)} bytes, less than its head")
    magic, version, count, length, size = _HEAD.unpack_from(data)
    table = _HEAD.size + count * _ENTRY.size
    if magic != _MAGIC or version != _VERSION:
        raise Damaged("a stored value does not begin as one of this release")
    if size != len(data) or table + length > size:
        raise Damaged(f"a stored value has {len(data):,} bytes, its head says {size:,}")
    buffers = []
    for start, each in _ENTRY.iter_unpack(data[_HEAD.size : table]):
        if start + each > size:
            raise Damaged("a stored value has a buffer beyond its end")
        buffers.append(data[start : start + each])
    return data[table : table + length], buffers


def _aligned(at: int) -> int:
    return -(-at // ALIGNMENT) * ALIGNMENT
