"""What commands print: tables for people, aligned text for pipes, one JSON document for programs.

Invariant: what is piped has no colours, no boxes, and nothing cut off, so that ``grep`` and ``awk`` see all.
"""

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from taskyard.cli.views.columns import Column
from taskyard_contract.ids import format_id

if TYPE_CHECKING:
    from rich.console import Console

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Rows = Sequence[Sequence[str]]

GIB: Final = 1024**3
"""What memory of machines is thought of in, in bytes."""

LAST_WIDTH: Final = 12
"""How much of the last column is worth a table."""
NAMES: Final = Column("NAME", least=16, tail=6)
"""The names of runs."""

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
    text = json.dumps(document, ensure_ascii=False, indent=None if lines else 2)
    if not _can_be_written(text):
        text = json.dumps(document, indent=None if lines else 2)
    print(text, flush=lines)


def writable(text: str) -> str:
    """Return a text as it is, half characters, which no encoding has, as their numbers."""
    return text if _can_be_written(text) else text.encode("utf-8", "backslashreplace").decode()


def _can_be_written(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def on_terminal() -> bool:
    """Whether people see what is printed, so that it is made to fit."""
    return sys.stdout.isatty()


def print_table(columns: Sequence[str | Column], rows: Rows, styles: Sequence[str] = ()) -> None:
    """Print rows under headings; on a terminal as wide as that is, in a pipe with everything.

    Args:
        columns: The headings. Of those that say no more the last one may be cut off.
        rows: The cells.
        styles: A colour for each row, used on terminals only.
    """
    last = len(columns) - 1
    known = [
        each if isinstance(each, Column) else Column(each, LAST_WIDTH if number == last else 0)
        for number, each in enumerate(columns)
    ]
    if on_terminal():
        _print_fitted(known, rows, styles)
        return
    headings = [each.heading for each in known]
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    for row in (headings, *rows):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print(line.rstrip())


def _print_fitted(columns: Sequence[Column], rows: Rows, styles: Sequence[str]) -> None:
    from rich.text import Text

    from taskyard.cli.views.fitting import GAP, cut, layout

    screen = console()
    places = layout(columns, rows, screen.width)
    headings = [each.heading for each in columns]
    for row, style in zip((headings, *rows), ("bold", *(styles or [""] * len(rows))), strict=True):
        cells = [cut(row[number], width, columns[number].tail) for number, width in places]
        screen.print(Text((" " * GAP).join(cells).rstrip(), style=style))
    shown = {number for number, _ in places}
    left_out = [
        each.heading
        for number, each in enumerate(columns)
        if number not in shown and any(row[number] for row in rows)
    ]
    if left_out:
        text = f"(no room for {', '.join(left_out)})"
        screen.print(Text(cut(text, screen.width).rstrip(), style="dim"))


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


def moment_cell(at_us: int) -> str:
    """Return a time for a table: on a terminal only what is not of course, in a pipe the whole of it."""
    if not at_us:
        return ""
    if not on_terminal():
        return clock_time(at_us)[:-4]
    return short_time(datetime.fromtimestamp(at_us / 1_000_000), datetime.now())


def id_cells(ids: Sequence[bytes]) -> dict[bytes, str]:
    """Return what a table shows of some ids: on a terminal the part that tells them apart, else all."""
    from taskyard._data.runs.short_ids import ShortIds

    if not on_terminal():
        return {each: format_id(each) for each in ids}
    short = ShortIds(ids)
    return {each: short.of(each) for each in ids}


def short_time(at: datetime, now: datetime) -> str:
    """Return a time as people say it at another: 22:23:55 of the same day, Nov 29 22:23, or a day."""
    if at.date() == now.date():
        return at.strftime("%H:%M:%S")
    return at.strftime("%b %d %H:%M" if at.year == now.year else "%Y-%m-%d")


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


def amount(size: int) -> str:
    """Return an amount of bytes, for people: '12.3 MB'."""
    from rich.filesize import decimal

    return decimal(size)
