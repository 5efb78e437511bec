"""What strangers send to the data process is understood, or is not; nothing else comes of it."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskyard_contract.errors import PermissionDenied
from taskyard_controlplane.data_process.ranges import RangeNotSatisfiable, span_of
from taskyard_controlplane.data_process.tickets import Seal

SEAL = Seal(b"k" * 32, lambda: 0.0)
NUMBERS = st.one_of(st.just(""), st.integers(0, 300).map(str), st.integers(0, 10**30).map(str))


@given(
    header=st.one_of(st.text(), st.builds("bytes={}-{}".format, NUMBERS, NUMBERS)), size=st.integers(0, 256)
)
def test_a_range_is_within_the_blob(header: str, size: int) -> None:
    with suppress(RangeNotSatisfiable):
        span = span_of(header, size)
        assert span is None or 0 <= span.start < span.end <= size


@given(first=st.integers(0, 300), length=st.integers(1, 300), size=st.integers(1, 256))
def test_a_range_has_the_bytes_that_a_slice_has(first: int, length: int, size: int) -> None:
    content = bytes(number % 256 for number in range(size))
    wanted = content[first : first + length]
    if not wanted:
        with pytest.raises(RangeNotSatisfiable):
            span_of(f"bytes={first}-{first + length - 1}", size)
        return
    span = span_of(f"bytes={first}-{first + length - 1}", size)
    assert span is not None
    assert content[span.start : span.end] == wanted
    last = span_of(f"bytes=-{length}", size)
    assert last is not None
    assert content[last.start : last.end] == content[-length:]


@given(path=st.text())
def test_nobody_gets_in_by_chance(path: str) -> None:
    with pytest.raises(PermissionDenied):
        SEAL.ticket("GET", path)


@given(
    method=st.sampled_from(["GET", "PUT"]),
    name=st.from_regex(r"(b3|sha256)-[0-9a-f]{64}", fullmatch=True),
    size=st.integers(0, 2**63),
    checksum=st.integers(0, 2**64 - 1),
)
def test_what_was_signed_comes_back(method: str, name: str, size: int, checksum: int) -> None:
    assert SEAL.ticket(method, SEAL.path(method, name, size, checksum, 1.0))[:4] == (
        method,
        name,
        size,
        checksum,
    )
