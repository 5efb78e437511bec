"""Where code that travels by value comes from: its file, and the lines of it that a traceback may show.

A worker has no file of a notebook, nor of a script on another machine, and some releases of cloudpickle even
drop the file's name. So a code object travels with both; where it arrives, its lines are put into
`linecache`, which is what tracebacks and debuggers ask.
"""

import io
import linecache
from collections.abc import Iterator
from types import CodeType
from typing import Final

MAX_LINES_BYTES: Final = 64 * 1024
"""More text than this does not travel with one function; its traceback shows line numbers only. A function of
that size is generated, and then the lines say little."""


def lines_of(code: CodeType) -> str:
    """Return the lines of a code object, and of those inside it, as they are now; "" where there are none."""
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename)[code.co_firstlineno - 1 : _last_line(code)]
    text = "".join(lines)
    return text if len(text.encode("utf-8", "replace")) <= MAX_LINES_BYTES else ""


def arrived(code: CodeType, lines: str) -> CodeType:
    """Return a code object that was made of a pickle, once tracebacks can show its lines."""
    if lines:
        # Cut as files are: `splitlines` also cuts at form feeds and other characters that begin no line.
        _show(code.co_filename, code.co_firstlineno, io.StringIO(lines).readlines())
    return code


def inner_codes(code: CodeType) -> Iterator[CodeType]:
    """Yield the code objects inside a code object, at any depth."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from inner_codes(constant)


def _last_line(code: CodeType) -> int:
    """Return the last line that a traceback through a code object can show."""
    last = code.co_firstlineno
    for one in (code, *inner_codes(code)):
        for line, end, _, _ in one.co_positions():
            last = max(last, end or line or 0)
    return last


def _show(filename: str, first: int, lines: list[str]) -> None:
    """Let tracebacks see some lines of a file that is not here, or has been changed since."""
    known = linecache.getlines(filename)
    end = first - 1 + len(lines)
    if known[first - 1 : end] == lines:
        return
    # A file of which only some functions have come consists of empty lines in between.
    shown = [*known, *["\n"] * (end - len(known))]
    shown[first - 1 : end] = lines
    # Without a time of modification the entry is kept, whatever lies, or does not lie, under that name.
    linecache.cache[filename] = (sum(map(len, shown)), None, shown, filename)
