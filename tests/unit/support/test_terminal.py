"""A program in a terminal knows that it is in one, and all its lines are read, with tmux and without."""

import os
import sys
from pathlib import Path

import pytest
from support import terminal

PROGRAM = "import sys; print(sys.stdout.isatty(), sys.stderr.isatty()); print(*range(100), sep='\\n')"


@pytest.mark.parametrize("tmux", [terminal.TMUX, None], ids=["tmux", "pty"])
def test_a_terminal_shows_all_lines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tmux: str | None
) -> None:
    monkeypatch.setattr(terminal, "TMUX", tmux)
    text = terminal.shown([sys.executable, "-c", PROGRAM], dict(os.environ), tmp_path, 30)
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    assert lines == ["True True", *map(str, range(100))]
