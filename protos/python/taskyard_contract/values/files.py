"""Stored values as memory: mapped files, private to whoever reads them.

What is mapped can be written to: the reader gets pages of its own for what it changes, and nobody else sees
that, so two runs never share one mutable value. A mapping keeps a descriptor and lives as long as any array
in it, so small files are read instead, and so is everything once there are many mappings: descriptors are for
the program.

Invariant: what is returned has the size and, the first time in this process, the checksum that its name was
said with.
"""

import mmap
import os
import resource
from collections import OrderedDict
from pathlib import Path
from typing import Final
from weakref import WeakSet

import xxhash

from taskyard_contract.values.layout import Damaged as Damaged

MAPPED_BYTES: Final = 256 * 1024
"""Smaller files are read: that is as fast, and needs no descriptor."""
SHARE_OF_DESCRIPTORS: Final = 4
"""Mappings take up at most this part of all the descriptors that the process may have."""
_REMEMBERED: Final = 10_000


class _Map(mmap.mmap):
    """One that can be counted."""


_maps: WeakSet[_Map] = WeakSet()
_verified: OrderedDict[str, None] = OrderedDict()


def read_value(path: Path, size: int, checksum: int | None) -> memoryview:
    """Return the content of a file as memory that may be written to.

    Args:
        path: The file. Its name stands for its content: it is verified once.
        size: Bytes it has to have.
        checksum: XXH3 (64 bits) it has to have, or None if nobody said it.

    Raises:
        OSError: It cannot be read.
        Damaged: It has another size or checksum.
    """
    with open(path, "rb", buffering=0) as file:
        found = os.fstat(file.fileno()).st_size
        if found != size:
            raise Damaged(f"{path.name} has {found:,} bytes, it was stored with {size:,}")
        view = _mapped(file.fileno(), size) if size >= MAPPED_BYTES else None
        if view is None:
            buffer = bytearray(size)
            view = memoryview(buffer)
            if _read_into(file.fileno(), view) != size:
                raise Damaged(f"{path.name} ended while it was read")
    if checksum is not None and path.name not in _verified:
        verify(path.name, view, checksum)
        _verified[path.name] = None
        if len(_verified) > _REMEMBERED:
            _verified.popitem(last=False)
    return view


def verify(name: str, data: memoryview | bytes, checksum: int) -> None:
    """Check the content of a blob.

    Raises:
        Damaged: It is another one.
    """
    if xxhash.xxh3_64_intdigest(data) != checksum:
        raise Damaged(f"{name} does not have the checksum that it was stored with: its bytes are damaged")


def _mapped(descriptor: int, size: int) -> memoryview | None:
    """Map a file; None where there should be, or can be, no further mapping."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // SHARE_OF_DESCRIPTORS
    if len(_maps) >= most:
        return None
    try:
        mapping = _Map(descriptor, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    except OSError:  # no descriptor, or no room for another mapping
        return None
    _maps.add(mapping)
    return memoryview(mapping)


def _read_into(descriptor: int, view: memoryview) -> int:
    done = 0
    while done < len(view):
        count = os.readv(descriptor, [view[done:]])
        if not count:
            break
        done += count
    return done
