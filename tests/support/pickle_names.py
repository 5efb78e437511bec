"""What a pickle names, read without loading it."""

import pickletools
from collections.abc import Iterator

_STRINGS = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
_BYTES = ("SHORT_BINBYTES", "BINBYTES", "BINBYTES8")
_START = b"\x80\x05"


def names_in(data: bytes) -> set[str]:
    """Return ``module:name`` of every class and function that loading the pickle looks up.

    Pickles inside it (an annotated argument is one) are read too.
    """
    return set(_names(data))


def texts_in(data: bytes) -> set[str]:
    """Return every text in the pickle: functions that travel by value carry the names of modules as text."""
    found: set[str] = set()
    for code, argument, _ in pickletools.genops(data):
        if code.name in _STRINGS:
            found.add(str(argument))
        elif code.name in _BYTES and argument.startswith(_START):
            found |= texts_in(argument)
    return found


def _names(data: bytes) -> Iterator[str]:
    pushed: list[str | None] = []
    memo: list[str | None] = []
    for code, argument, _ in pickletools.genops(data):
        if code.name == "MEMOIZE":
            memo.append(pushed[-1] if pushed else None)
        elif code.name in _STRINGS:
            pushed.append(argument)
        elif code.name in ("BINGET", "LONG_BINGET"):
            pushed.append(memo[argument])
        elif code.name == "STACK_GLOBAL":
            yield f"{pushed[-2]}:{pushed[-1]}"
            pushed.append(None)
        else:
            if code.name in _BYTES and argument.startswith(_START):
                yield from _names(argument)
            pushed.append(None)
