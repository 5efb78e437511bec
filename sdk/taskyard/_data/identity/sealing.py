"""How parts become one: a digest that nothing else has."""

import hashlib


def sealed(tag: bytes, *parts: bytes) -> bytes:
    """Return what stands for some parts, in their order, under a tag."""
    pieces = [tag]
    for part in parts:
        pieces += (b"\x00%d:" % len(part), part)
    return b"#" + hashlib.sha256(b"".join(pieces)).digest()


def sealed_memory(memory: memoryview) -> bytes:
    """Return what stands for a part of memory, without copying it."""
    digest = hashlib.sha256(b"memory\x00")
    digest.update(memory)
    return b"#" + digest.digest()
