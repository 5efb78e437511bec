"""Where code that travels by value comes from: its file, and the lines of it that a traceback may show.

A worker has no file of a notebook, nor of a script on another machine, and some releases of cloudpickle even
drop the file's name. So a code object travels with both; where it arrives, its lines are put into
`linecache`, which is what tracebacks and debuggers ask.

`linecache` knows lines by file name only, and a worker lives longer than a version of a file. So lines are
kept with the code as well: whoever writes a traceback asks before for the lines of the very code that is in
it (`show_lines_of`). When code is no longer in memory, its lines need not be either.
Invariant: nothing is kept of code that is gone, and nothing of `linecache` is touched but what was put there.
"""

import io
import linecache
import weakref
from collections.abc import Iterator, Sequence
from types import CodeType, TracebackType
from typing import Final, NamedTuple

MAX_LINES_BYTES: Final = 64 * 1024
"""More text than this does not travel with one function; its traceback shows line numbers only. A function of
that size is generated, and then the lines say little."""


class _Text(NamedTuple):
    """The lines of a code object that has arrived, and where they stand."""

    filename: str
    first: int
    lines: list[str]


_texts: Final[dict[int, _Text]] = {}
"""By the ids of code objects and of those inside them: code from different files can be equal."""
_shown: Final[dict[str, list[str]]] = {}
"""What was put into `linecache`, by file name."""


def lines_of(code: CodeType) -> str:
    """Return the lines of a code object, and of those inside it, as they are now; "" where there are none."""
    arrived_with = _texts.get(id(code))
    if arrived_with is not None:
        first, known = arrived_with.first, arrived_with.lines
    else:
        _hide(code.co_filename)  # another version of this file may have arrived here
        linecache.checkcache(code.co_filename)
        first, known = 1, linecache.getlines(code.co_filename)
    text = "".join(known[code.co_firstlineno - first : _last_line(code) - first + 1])
    return text if len(text.encode("utf-8", "replace")) <= MAX_LINES_BYTES else ""


def arrived(code: CodeType, lines: str) -> CodeType:
    """Return a code object that was made of a pickle, once tracebacks can show its lines."""
    if lines:
        # Cut as files are: `splitlines` also cuts at form feeds and other characters that begin no line.
        text = _Text(code.co_filename, code.co_firstlineno, io.StringIO(lines).readlines())
        ids = [id(code), *map(id, inner_codes(code))]
        _texts.update(dict.fromkeys(ids, text))
        weakref.finalize(code, _forget, ids, text.filename).atexit = False
        _show(text)
    return code


def show_lines_of(frames: TracebackType | None) -> None:
    """Let a traceback show the lines of its code, should another version of a file have arrived since."""
    while frames is not None and _texts:
        text = _texts.get(id(frames.tb_frame.f_code))
        if text is not None:
            _show(text)
        frames = frames.tb_next


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


def _show(text: _Text) -> None:
    """Let tracebacks see some lines of a file that is not here, or has been changed since."""
    filename, first, lines = text
    known = linecache.getlines(filename)
    end = first - 1 + len(lines)
    if known[first - 1 : end] == lines:
        return
    # A file of which only some functions have come consists of empty lines in between.
    shown = [*known, *["\n"] * (end - len(known))]
    shown[first - 1 : end] = lines
    # Without a time of modification the entry is kept, whatever lies, or does not lie, under that name.
    linecache.cache[filename] = (sum(map(len, shown)), None, shown, filename)
    _shown[filename] = shown


def _forget(ids: Sequence[int], filename: str) -> None:
    """Let go of the lines of code that is no longer in memory."""
    for one in ids:
        _texts.pop(one, None)
    if any(text.filename == filename for text in list(_texts.values())):
        return
    _hide(filename)


def _hide(filename: str) -> None:
    """Take out of `linecache` what was put there."""
    shown, entry = _shown.pop(filename, None), linecache.cache.get(filename)
    if entry is not None and len(entry) == 4 and entry[2] is shown:
        del linecache.cache[filename]
