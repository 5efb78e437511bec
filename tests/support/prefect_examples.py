"""Small programs that use what the documentation of Prefect shows, and what each of them must print.

What is expected stands at the top of each program, so that it can be read beside it: "Prints" are the lines
of its standard output, "In any order" says that some may change places, "Logs" are patterns of lines that
must be in its log, in this order.
"""

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parents[1] / "acceptance" / "prefect" / "examples"
LOG_LINE: Final = re.compile(r"^\d\d:\d\d:\d\d\.\d{3} \| \w+ +\| ")
"""What all lines of the log begin with, in a terminal as well."""


@dataclass(frozen=True)
class Example:
    """A program and what it must do."""

    path: Path
    prints: tuple[str, ...]
    logs: tuple[str, ...]
    any_order: bool
    """Whether lines may change places, all but the first."""
    first_too: bool

    @classmethod
    def read(cls, path: Path) -> "Example":
        """Read what the text at the top of a program says."""
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        prints, logs = _section(text, "Prints"), _section(text, "Logs")
        assert prints or logs, f"{path} does not say what it prints"
        return cls(path, prints, logs, "In any order:" in text, "In any order: all" in text)

    def check_printed(self, lines: list[str]) -> None:
        """Compare what was printed, whole."""
        if self.any_order:
            fits = sorted(lines) == sorted(self.prints) and (self.first_too or lines[:1] == [self.prints[0]])
        else:
            fits = lines == list(self.prints)
        assert fits, f"expected {self.prints}, printed {lines}"

    def check_logged(self, text: str) -> None:
        """Find the lines of the log, one after the other."""
        lines = [line for line in text.splitlines() if LOG_LINE.match(line)]
        rest = iter(lines)
        for wanted in self.logs:
            found = any(re.search(wanted, line) for line in rest)
            assert found, f"no line, or none at this place, fits {wanted!r}:\n" + "\n".join(lines)

    def check_shown(self, screen: str) -> None:
        """Find what was printed among everything that stands in a terminal: whole lines, in order, once."""
        lines = [line.rstrip() for line in screen.splitlines()]
        shown = [line for line in lines if line in self.prints and not LOG_LINE.match(line)]
        assert sorted(shown) == sorted(self.prints), screen
        assert self.any_order or shown == list(self.prints), screen
        self.check_logged("\n".join(lines))


def _section(text: str, name: str) -> tuple[str, ...]:
    found = re.search(rf"^{name}:\n((?:    .*\n?)+)", text, re.MULTILINE)
    return tuple(line[4:] for line in found.group(1).splitlines()) if found else ()


EXAMPLES: Final = tuple(Example.read(path) for path in sorted(FOLDER.glob("*.py")))
