"""Lengths of time and amounts of bytes, as people write them."""

import pytest

from taskyard_contract.for_people.durations import bytes_of, seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("0d", 0), ("90s", 90), ("30m", 1800), ("12h", 43_200), (" 30d ", 2_592_000), ("1w", 604_800)],
)
def test_times_have_a_unit(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "-1d", "1.5h", "1y", "d", "1d1h", "9999999999d"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no length of time"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("5B", 5), ("500MB", 500 * 10**6), ("10GB", 10**10), ("10 gb", 10**10), ("8GiB", 8 * 2**30)],
)
def test_amounts_have_a_unit(text: str, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "5", "-1GB", "1.5GB", "GB", "5PB"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no amount of bytes"):
        bytes_of(text)
