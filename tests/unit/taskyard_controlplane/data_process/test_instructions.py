"""What the data process is told arrives as it was meant, in one line."""

from pathlib import Path

from taskyard_controlplane.data_process.instructions import Instructions


def test_instructions_come_back_from_their_line() -> None:
    told = Instructions(Path("/a b/\n\u00e4"), b"\0\n" * 16, 7, 20, 4711)
    line = told.line()
    assert line.index(b"\n") == len(line) - 1
    assert Instructions.of(line) == told
