"""How large payloads, their parts and some of what describes them may be. Pure.

The first four are a server's choice: they hold until its welcome says what it has been told, and a server
that was told nothing announces these.
"""

from typing import Final

MAX_INLINE_BYTES: Final = 64 * 1024
"""Larger ones travel as blobs of their own, or they would delay the runs that share their frame."""
MAX_PAYLOAD_BYTES: Final = 16 * 1024**3
"""The largest of all: none is held in memory on its way, and a disk has room for some."""
MAX_PAGE_SIZE: Final = 1_000
"""Most items in one page of a listing."""
MAX_WAIT_SECONDS: Final = 60.0
"""How long one call waits for something to happen: shorter than what proxies allow an idle call."""
PART_BYTES: Final = 1024 * 1024
"""Most of a blob in one message: small beside a message's limit, large beside its overhead."""
MAX_HEADER_BYTES: Final = 1024
"""Of all headers of a run, names and values. They are in its row, and go along with it."""
MAX_VARIABLE_BYTES: Final = 64 * 1024
"""Of all variables that a program hands over to workers on other machines, names and values."""
MAX_OPTIONS_BYTES: Final = 8 * 1024
"""Of what a program has set in Python itself, as workers on other machines are told."""
MAX_LABEL_BYTES: Final = 1024
"""Of all labels that a template asks for, names and values: they are part of a name that databases index."""


def too_large_result(size: int, limit: int) -> str:
    """Say that no server takes a result of so many bytes."""
    return (
        f"the result is {size:,} bytes, the server's limit is {limit:,}; "
        "write it to storage of your own and return a reference to it"
    )
