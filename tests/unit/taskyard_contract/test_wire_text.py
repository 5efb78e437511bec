"""Text on the wire is UTF-8 and has its limit, whatever user code makes of it."""

import pytest

from taskyard_contract.wire_text import MESSAGE_LIMIT, cut, cut_front, printable


@pytest.mark.parametrize(
    ("text", "sent"), [("plain", "plain"), ("größe", "größe"), ("a\udcffb", "a\\udcffb"), ("", "")]
)
def test_what_is_no_character_becomes_an_escape_sequence(text: str, sent: str) -> None:
    assert printable(text) == cut(text) == cut_front(text, 100) == sent
    sent.encode()


@pytest.mark.parametrize("size", [0, 1, 9, 10])
def test_what_fits_stays_whole(size: int) -> None:
    assert cut("x" * size, 10) == cut_front("x" * size, 10) == "x" * size


def test_the_limit_counts_bytes_and_never_splits_a_character() -> None:
    assert cut("ä" * 6, 11) == "ä" * 5 + "..."
    assert cut_front("ä" * 6, 11) == "..." + "ä" * 5
    assert cut("é" * 5, 10) == "é" * 5


def test_a_message_keeps_its_beginning_and_a_traceback_its_end() -> None:
    text = "first" + "x" * MESSAGE_LIMIT + "last"
    assert cut(text).startswith("first")
    assert cut_front(text, 100).endswith("last")
    assert len(cut(text).encode()) == MESSAGE_LIMIT + 3
