"""Lengths of time and amounts of bytes, as people write them: "30d", "12h", "10GB", "0". Pure."""

import re
from typing import Final

_TIME: Final = re.compile(r"(\d{1,9})(s|m|h|d|w)?")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_SIZE: Final = re.compile(r"(\d{1,9}) ?(B|KB|MB|GB|TB|KIB|MIB|GIB|TIB)?", re.IGNORECASE)
_BYTES: Final = {
    "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip


def seconds_of(text: str) -> int:
    """Return the seconds of a time like 90s, 30m, 12h, 30d or 1w; 0 needs no unit.

    Raises:
        ValueError: It is no such time.
    """
    found = _TIME.fullmatch(text.strip())
    if found is None or (found[2] is None and int(found[1])):
        raise ValueError(f"'{text}' is no length of time; write it like 90s, 30m, 12h, 30d or 1w")
    return int(found[1]) * _SECONDS[found[2] or "s"]


def bytes_of(text: str) -> int:
    """Return the bytes of an amount like 500MB or 10GB; 0 needs no unit.

    Raises:
        ValueError: It is no such amount.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None or (found[2] is None and int(found[1])):
        raise ValueError(f"'{text}' is no amount of bytes; write it like 500MB, 10GB or 8GiB")
    return int(found[1]) * _BYTES[(found[2] or "B").upper()]
