"""Headers of runs: what observes them and is none of their arguments, a trace they belong to for example.

Checked where they are written: a server refuses the whole frame that has wrong ones.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from taskyard_contract.payload_limits import MAX_HEADER_BYTES

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


def merged(known: Mapping[str, str], more: Mapping[str, str]) -> Mapping[str, str]:
    """Return headers together with others, which win.

    Raises:
        TypeError: A name or a value is no text.
        ValueError: A name is empty or not printable, a value is no text of Unicode, or all are too long.
    """
    if not more:
        return known
    together = {**known, **more}
    size = 0
    for name, value in together.items():
        if not (isinstance(name, str) and isinstance(value, str)):
            raise TypeError(f"headers are text, not {name!r}: {value!r}")
        if not name or not name.isprintable():
            raise ValueError(f"{name[:80]!r} is no name of a header: it has to be printable text")
        size += _bytes_of(name, name) + _bytes_of(value, name)
    if size > MAX_HEADER_BYTES:
        raise ValueError(
            f"the headers {', '.join(together)} have {size:,} bytes, names and values; a run may have"
            f" {MAX_HEADER_BYTES:,}"
        )
    return together


def _bytes_of(text: str, name: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise ValueError(f"the header {name!r} has half a character of UTF-16 in it") from None
