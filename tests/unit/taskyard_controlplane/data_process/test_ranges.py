"""Which bytes a request is answered with, by RFC 9110."""

import pytest

from taskyard_controlplane.data_process.ranges import RangeNotSatisfiable, Span, span_of


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-99", (0, 100)),
        ("bytes=0-100000", (0, 100)),
        ("bytes=10-", (10, 100)),
        ("bytes=99-", (99, 100)),
        ("bytes=-1", (99, 100)),
        ("bytes=-1000", (0, 100)),
        ("Bytes= 5-6 ", (5, 7)),
    ],
)
def test_ranges_of_a_hundred_bytes(header: str, span: tuple[int, int]) -> None:
    assert span_of(header, 100) == Span(*span)


@pytest.mark.parametrize(
    "header",
    [
        None, "", "bytes", "bytes=", "bytes=-", "bytes=5", "bytes=6-5", "bytes=0-1,3-4", "bytes=a-b",
        "bytes=-1-2", "bytes=+1-2", "bytes=1 -2", "lines=0-1", "bytes=" + "9" * 5_000 + "-",
        "bytes=\u0661-\u0662",
    ],
)  # fmt: skip
def test_what_is_not_understood_is_all_of_it(header: str | None) -> None:
    assert span_of(header, 100) is None


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=100-", 100), ("bytes=0-", 0), ("bytes=-0", 100), ("bytes=-5", 0)]
)
def test_ranges_without_a_byte_cannot_be_satisfied(header: str, size: int) -> None:
    with pytest.raises(RangeNotSatisfiable):
        span_of(header, size)
