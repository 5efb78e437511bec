"""What the texts of a program's modules say of other modules: which attributes they set, which containers of
theirs they fill, and what they import.

Found by patterns: to parse takes fifteen times as long. A name too many does no harm, and what a pattern does
not see is no worse off than without.
"""

import os
import re
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Final, NamedTuple

from taskyard._engine.world.sent_parts import IMPORT, cells
from taskyard_contract.world.script_names import MAIN

MOST_BYTES: Final = 1024 * 1024
"""Of all texts but the script's: 40 ms of work."""
_DOTTED: Final = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"
_ITEMS: Final = r"(?:\[[^\n\]]*\][\w.]*)"
_ASSIGNED: Final = re.compile(
    rf"(?:^|[;:])[ \t]*(?=\w+[.\[])({_DOTTED})({_ITEMS}*)[ \t]*"
    r"(?::[^\n=]+)?(?:[-+*/%@&|^]|//|\*\*|<<|>>)?=(?!=)",
    re.MULTILINE,
)
"""``a.b = ...``, ``a.b["c"] += ...``"""
_DELETED: Final = re.compile(rf"(?:^|[;:])[ \t]*del[ \t]+({_DOTTED})({_ITEMS}*)", re.MULTILINE)
_CHANGING: Final = re.compile(
    r"\.(?:add|append|appendleft|clear|discard|extend|insert|move_to_end|pop|popitem|popleft|remove|reverse"
    r"|setdefault|sort|update)\("
)
"""What changes a container, whose name is before it."""
_SETTERS: Final = ("setattr", "patch", "item(")
_SET: Final = re.compile(
    rf"(?:setattr|patch\.object)\(\s*({_DOTTED}\s*,\s*['\"]\w+)['\"]"
    rf"|(?:setitem|delitem|patch\.dict)\(\s*({_DOTTED})"
    rf"|(?:setattr|patch|patch\.dict)\(\s*['\"]({_DOTTED})['\"]"
)
"""`setattr` and the like, of pytest and `unittest.mock` too, which also take the whole name as a text."""
_WORD: Final = re.compile(r"\w+")


class Text(NamedTuple):
    """What the text of a module says."""

    sets: tuple[str, ...] = ()
    """Names with dots that it sets."""
    fills: tuple[str, ...] = ()
    """Names of what it changes if they are containers."""
    sets_by_name: tuple[str, ...] = ()
    """Names that it sets, from that of a module on."""
    imports: frozenset[str] = frozenset()
    """All words in its import statements."""
    is_read: bool = True
    """Whether it was read at all."""

    def may_import(self, module: str) -> bool:
        """Say whether it mentions a module there, for all that is known."""
        return not self.is_read or module.rpartition(".")[2] in self.imports


_UNREAD: Final = Text(is_read=False)


def read(text: str) -> Text:
    """Read what a source says of other modules."""
    sets: dict[str, None] = {}
    fills: dict[str, None] = {}
    by_name: dict[str, None] = {}
    lines = "\n".join(line for line in text.splitlines() if "=" in line and ("." in line or "[" in line))
    deleted = _DELETED.findall(text) if "del" in text else []
    for name, items in (*_ASSIGNED.findall(lines), *deleted):
        (fills if items else sets)[name] = None
    for match in _CHANGING.finditer(text):
        fills[_name_before(text, match.start())] = None
    for attribute, container, name in _SET.findall(text) if any(one in text for one in _SETTERS) else ():
        if attribute:
            sets[".".join(_WORD.findall(attribute))] = None
        else:
            (fills if container else by_name)[container or name] = None
    words = (word for statement in IMPORT.finditer(text) for word in _WORD.findall(statement[0]))
    return Text(_of_others(sets), _of_others(fills), tuple(by_name), frozenset(words))


def _name_before(text: str, end: int) -> str:
    """Return the name with dots that ends somewhere, without what is in brackets behind it; "" for none."""
    while end and text[end - 1] == "]":
        end = max(0, text.rfind("[", 0, end))
    start = end
    while start and (text[start - 1].isalnum() or text[start - 1] in "._"):
        start -= 1
    return text[start:end]


def _of_others(names: Mapping[str, None]) -> tuple[str, ...]:
    return tuple(name for name in names if name and not name.startswith(("self.", "cls.")))


class Texts:
    """The texts of a program, each read once; of large programs those that were imported last."""

    def __init__(self) -> None:
        """Know no text yet."""
        self._cells: dict[str, Text] = {}
        self._files: dict[str, tuple[int, int, Text]] = {}  # with time of the last change, and size

    def of_main(self) -> list[Text]:
        """Return what the texts of the script say, or of the cells of a notebook."""
        file = _file_of(sys.modules[MAIN])
        found = [] if file is None else [self._of_file(file, sys.maxsize)[1]]
        for text in cells():
            if text not in self._cells:
                self._cells[text] = read(text)
            found.append(self._cells[text])
        return found

    def of(self, modules: Mapping[str, ModuleType]) -> dict[str, Text]:
        """Return what the texts of modules say; nothing for those that have none."""
        found, room = {}, MOST_BYTES
        for name, module in reversed(list(modules.items())):
            file = _file_of(module)
            size, found[name] = (0, Text()) if file is None else self._of_file(file, room)
            room -= size
        return found

    def _of_file(self, file: str, room: int) -> tuple[int, Text]:
        """Return the size of a file, and what it says; nothing where there is too little room for it."""
        try:
            stat = os.stat(file)
            known = self._files.get(file)
            if known is not None and known[:2] == (stat.st_mtime_ns, stat.st_size):
                return known[1:]
            if stat.st_size > room:
                return 0, _UNREAD
            with open(file, "rb") as opened:
                text = read(opened.read().decode("utf-8", "replace"))
        except OSError:
            return 0, Text()
        self._files[file] = stat.st_mtime_ns, stat.st_size, text
        return stat.st_size, text


def _file_of(module: ModuleType) -> str | None:
    file = getattr(module, "__file__", None)
    return file if type(file) is str and file.endswith(".py") else None
