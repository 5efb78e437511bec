"""Values that are right, nearly right, or as wrong as their type allows; the same ones for the same seed."""

import hashlib
from random import Random
from typing import Any, Final

IDS: Final = [bytes([0x01, 0x90, *[n] * 4, 0x70 | n % 8, n, 0x80 | n, *[n] * 7]) for n in range(24)]
"""Few, so that calls meet: runs that exist, sessions that are open, agents that hold something."""
CONTENTS: Final = [b"", b"x", b"content" * 10, bytes(70_000)]
DIGESTS: Final = [hashlib.sha256(content).digest() for content in CONTENTS]
TEXTS: Final = [
    "", "default", "a", "name-1", "json/plain", "python/pickle5", "code/name", "code/blob", "module:name",
    "\x00", "\u202e\U0001f9ea", "a" * 300, "%s%n{}", "'; drop table run; --", "../../etc/passwd", "9" * 40,
]  # fmt: skip
LENGTHS: Final = [0, 1, 15, 17, 31, 33, 100, 5_000]
NUMBERS: Final = [0, 1, 2, 3, 10, 1_000, 65_536, 2**31 - 1, 2**32 - 1, 2**53, 2**63 - 1]
FLOATS: Final = [0.0, 1.0, -1.0, 0.5, 1e308, 5e-324, float("inf"), float("-inf"), float("nan")]
HUGE_TEXT: Final = "t" * 200_000
RIGHT: Final[dict[str, list[Any]]] = {
    "protocol_min": [2], "protocol_max": [2, 2, 2, 9], "namespace": ["", "", "", "default"],
    "queue": ["default"], "queues": ["default"], "encoding": ["json/plain", "python/pickle5"],
    "capabilities": ["json/plain", "code/name"], "task_name": ["fuzzed"],
    "number": [1, 2, 3, 4], "report_number": [0, 1, 2, 3], "index": [0, 1, 2, 3], "template": [0, 1, 2, 3],
    "slots": [1, 4], "chunk_size": [1, 100], "granted_total": [0, 1, 10, 2_000], "max_runs": [0, 1, 10],
    "wait_ms": [0, 50, 500], "timeout_ms": [0, 50, 500], "page_size": [0, 1, 50],
    "code": [b"code"], "args": [b"[]", b"1"], "page_token": ["", "", "", "", "x"],
    "kind": [1], "version": [0, 0, 1], "name": ["fuzzed"], "first_epoch": [1, 2],
    "max_retries": [0, 1, 3], "max_infra_retries": [0, 3], "delays_ms": [0, 10], "reference": ["os:getcwd"],
}  # fmt: skip
"""By the name of the field, what a peer in its senses would send."""
WORDS: Final = {"kind": ["variable", "block"]}
"""The same of texts, where another field of this name is none."""


NEEDED: Final = frozenset({
    "agent_id", "session_id", "run_id", "run_ids", "digest", "digests", "protocol_min", "protocol_max",
    "kind", "template", "name", "code", "encoding", "number", "location", "task_name", "queue", "slots",
    "queues", "capabilities", "hello", "runs", "groups", "chunk_size", "args", "blob", "part", "size",
    "data", "columns",
})  # fmt: skip
"""Fields without which hardly a message means anything."""


def octets(random: Random, name: str, wild: float) -> bytes:
    """Bytes for a field of this name."""
    known = DIGESTS if "digest" in name or name == "missing" else IDS
    if random.random() >= 0.01 + wild / 3:
        return random.choice(known)
    return random.randbytes(random.choice(LENGTHS))


def text(random: Random) -> str:
    """Text, sometimes a lot of it."""
    return HUGE_TEXT if random.random() < 0.005 else random.choice(TEXTS)


def number(random: Random, bits: int, signed: bool) -> int:
    """A number that fits into so many bits, the extremes among them."""
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    value = random.choice([*NUMBERS, low, high, random.randint(low, high)])
    return max(low, min(high, -value if signed and random.random() < 0.2 else value))
