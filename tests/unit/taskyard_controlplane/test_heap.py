"""Memory that was freed goes back to the system, though what lies between it stays."""

import ctypes

import pytest

from taskyard_controlplane.heap import Heap, resident_bytes

MIB = 1024 * 1024


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33")
def test_free_pages_between_records_that_stay_are_given_back() -> None:
    Heap().trim(0)
    heap = Heap()
    before = resident_bytes()
    payloads = [bytearray(b"x" * 60_000) for _ in range(1_000)]
    stay = payloads[::50]
    payloads.clear()
    if resident_bytes() - before > 30 * MIB:  # the library may have given them back by itself
        assert heap.free_bytes() > 30 * MIB
        assert heap.trim()
    assert resident_bytes() - before < 20 * MIB
    assert len(stay) == 20
    assert not heap.trim(kept=1 << 40)
