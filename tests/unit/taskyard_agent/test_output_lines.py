"""Whole lines of bounded length, however they are written."""

from hypothesis import given
from hypothesis import strategies as st

from taskyard_agent.runner.output.lines import CUT, MAX_LINE, Lines


@given(st.lists(st.binary(max_size=40).map(lambda part: part.replace(b"x", b"\n")), max_size=30))
def test_lines_come_whole_and_nothing_is_lost(parts: list[bytes]) -> None:
    lines, told = Lines(), []
    for part in parts:
        if whole := lines.add(part, 1):
            told.append(whole)
    assert all(one.endswith(b"\n") for one in told)
    written = b"".join(parts)
    rest = lines.end() if lines.begun else b""
    expected = written if written.endswith(b"\n") or not written else written + b"\n"
    assert b"".join(told) + rest == expected


def test_a_line_that_is_too_long_is_cut_and_the_next_one_is_not() -> None:
    lines = Lines()
    for size in (MAX_LINE, MAX_LINE + 1, 10 * MAX_LINE):
        told = lines.add(b"a" * size + b"\nnext\n", 1)
        assert told == b"a" * MAX_LINE + (CUT if size > MAX_LINE else b"\n") + b"next\n"


def test_a_long_line_in_many_parts_is_cut_alike() -> None:
    lines = Lines()
    for _ in range(50):
        assert lines.add(b"b" * 1000, 1) == b""
    assert lines.add(b"\n", 1) == b"b" * MAX_LINE + CUT


def test_a_line_that_goes_on_is_told_in_parts_and_has_room_for_ever() -> None:
    lines, told = Lines(), b""
    for moment in range(1, 200):
        assert lines.add(b"\r50 %" + b"." * 1000, moment) == b""
        assert lines.overdue(moment - 1) == b""
        told += lines.overdue(moment)
    assert len(told) == 199 * 1005
    assert lines.begun
    assert lines.end() == b"\n"
    assert not lines.begun


def test_a_carriage_return_ends_no_line() -> None:
    lines = Lines()
    assert lines.add(b"a\rb", 1) == b""
    assert lines.add(b"\rc\nd\r\n", 1) == b"a\rb\rc\nd\r\n"
