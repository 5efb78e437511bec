"""What commands print: tables for people, aligned text for pipes, one JSON document for programs.

Invariant: what is piped has no colours, no boxes, and nothing cut off, so that ``grep`` and ``awk`` see all.
"""

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from rich.console import Console

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Rows = Sequence[Sequence[str]]

GIB: Final = 1024**3
"""What memory of machines is thought of in, in bytes."""

LAST_WIDTH: Final = 12
"""How much of the last column is worth a table."""

STATE_STYLES: Final = {
    "COMPLETED": "green",
    "FAILED": "red",
    "CRASHED": "magenta",
    "CANCELLED": "yellow",
    "CANCELLING": "yellow",
    "RUNNING": "cyan",
    "SCHEDULED": "yellow",
}


def console() -> "Console":
    """Return a console for what standard output is now."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def print_json(document: Any, *, lines: bool = False) -> None:
    """Print a document; on one line when others follow it."""
    print(json.dumps(document, ensure_ascii=False, indent=None if lines else 2), flush=lines)


def print_table(columns: Sequence[str], rows: Rows, styles: Sequence[str] = ()) -> None:
    """Print rows under headings.

    Args:
        columns: The headings. The last column may be cut off on a terminal that is too narrow; on one that
            is narrower still, lines are wrapped and nothing is cut off.
        rows: The cells.
        styles: A colour for each row, used on terminals only.
    """
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    if sys.stdout.isatty() and sum(widths[:-1]) + 2 * len(widths) + LAST_WIDTH <= console().width:
        _print_rich(columns, rows, styles)
        return
    for row in (columns, *rows):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(line.rstrip())


def _print_rich(columns: Sequence[str], rows: Rows, styles: Sequence[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in columns[:-1]:
        table.add_column(heading, no_wrap=True)
    table.add_column(columns[-1], overflow="ellipsis", no_wrap=True)
    for row, style in zip(rows, styles or [""] * len(rows), strict=True):
        table.add_row(*(Text(cell, style=style) for cell in row))
    console().print(table, soft_wrap=False)


def print_pairs(pairs: Sequence[tuple[str, str]]) -> None:
    """Print what something is, one property a line; empty ones are left out."""
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        if value:
            print(f"{name.ljust(width)}  {value}")


def print_heading(text: str) -> None:
    from rich.text import Text

    print()
    console().print(Text(text, style="bold"))


def clock_time(at_us: int) -> str:
    """Return a time in this machine's time zone, for people; empty for none."""
    if not at_us:
        return ""
    return datetime.fromtimestamp(at_us / 1_000_000).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def duration(from_us: int, to_us: int) -> str:
    """Return the time between two moments, for people; empty when one is missing."""
    if not from_us or not to_us:
        return ""
    seconds = max(0, to_us - from_us) / 1_000_000
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def gibibytes(used: int, total: int) -> str:
    """Return how much of something is used, empty when nobody knows: '1.5/16.0 GiB'."""
    return f"{used / GIB:.1f}/{total / GIB:.1f} GiB" if total else ""
