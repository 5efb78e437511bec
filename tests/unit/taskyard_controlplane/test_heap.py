"""Memory that was freed goes back to the system, though what lies between it stays."""

import ctypes
from pathlib import Path

import pytest

from taskyard_controlplane.heap import Heap

MIB = 1024 * 1024


def resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33")
def test_free_pages_between_records_that_stay_are_given_back() -> None:
    heap = Heap()
    heap.trim(0)
    before = resident()
    payloads = [bytearray(b"x" * 60_000) for _ in range(1_000)]
    stay = payloads[::50]
    payloads.clear()
    if resident() - before > 30 * MIB:  # the library may have given them back by itself
        assert heap.free_bytes() > 30 * MIB
        assert heap.trim()
    assert resident() - before < 20 * MIB
    assert len(stay) == 20
    assert not heap.trim(kept=1 << 40)
