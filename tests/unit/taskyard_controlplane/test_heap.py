"""Memory that was freed goes back to the system, though what lies between it stays."""

import ctypes
import gc
import mmap
import multiprocessing
import sys
import weakref
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import pytest

from taskyard_controlplane.heap import MANY_BLOCKS, Heap, Spares, resident_bytes

MIB = 1024 * 1024

needs_glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33")


def _payloads() -> list[bytearray]:
    return [bytearray(b"x" * 60_000) for _ in range(1_000)]


def _alone(measure: Callable[[], None]) -> None:
    """Call a function in a process of its own, whose memory no other test and no thread changes."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        process.submit(measure).result()


@needs_glibc
def test_free_pages_between_records_that_stay_are_given_back() -> None:
    _alone(_free_pages_between_records_that_stay)


def _free_pages_between_records_that_stay() -> None:
    heap = Heap()
    heap.trim(0)
    before = resident_bytes()
    payloads = _payloads()
    stay = payloads[::50]
    heap.trim()  # a look while all is in use: what was free before the test may have been taken for it
    payloads.clear()
    if resident_bytes() - before > 30 * MIB:  # the library may have given them back by itself
        assert heap.trim()
    assert resident_bytes() - before < 20 * MIB
    assert len(stay) == 20


@needs_glibc
def test_what_becomes_free_later_is_given_back_as_well() -> None:
    """Though the process has not grown since the last time."""
    _alone(_what_becomes_free_later)


def _what_becomes_free_later() -> None:
    heap = Heap()
    heap.trim(0)
    before = resident_bytes()
    payloads, others = _payloads(), _payloads()
    stay = payloads[::50] + others[::50]
    heap.trim()  # as above
    for each in (payloads, others):
        held = resident_bytes() - before
        each.clear()
        if resident_bytes() - before > held - 20 * MIB:
            assert heap.trim()
        assert resident_bytes() - before < held - 30 * MIB
    assert len(stay) == 40


@needs_glibc
def test_at_rest_nearly_all_that_is_free_is_given_back() -> None:
    """Also what the interpreter hides, which has let go as much of its own meanwhile."""
    _alone(_at_rest)


def _at_rest() -> None:
    heap = Heap()
    heap.look(at_rest=True)
    before = resident_bytes()
    hiding = mmap.mmap(-1, 60 * MIB)
    hiding.write(b"x" * (60 * MIB))
    payloads, others = _payloads(), _payloads()
    stay = payloads[::50] + others[::50]
    payloads.clear()
    heap.trim(0)  # and takes the rest for what nothing can be done about
    hiding.close()
    others.clear()
    heap.look(at_rest=True)
    assert resident_bytes() - before < 12 * MIB
    assert len(stay) == 40


def test_what_the_interpreter_keeps_goes_when_much_was_made() -> None:
    """And stays while little happens: nothing was left behind then."""
    _alone(_spares)


class _Looked:
    pass


def _spares() -> None:
    gc.disable()
    spares, renewed = Spares(), list[bool]()

    def renew() -> None:
        renewed.append(seen() is None)

    name = "".join(("a name ", "of its own"))
    unused = sys.getrefcount(name)
    assert not hasattr(_Looked, name)
    dead = _Looked()
    dead.itself = dead  # type: ignore[attr-defined]
    seen = weakref.ref(dead)
    del dead
    assert not spares.let_go(renew)
    assert seen() is not None
    many = [[] for _ in range(MANY_BLOCKS + 1_000)]  # type: ignore[var-annotated]
    assert spares.let_go(renew)
    assert seen() is None
    assert sys.getrefcount(name) == unused
    assert not spares.let_go(renew)
    many.clear()
    assert spares.let_go(renew)
    assert renewed == [True, True], "when there is nothing left of what was"
