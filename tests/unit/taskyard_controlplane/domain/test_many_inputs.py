"""Very many inputs of a run take 24 bytes each."""

import sys

from taskyard_controlplane.domain.memory import ManyInputs

INPUTS = [(bytes([at]) * 16, b"v" * at, None) for at in range(50)]


def test_they_read_as_inputs_that_are_in_the_database() -> None:
    many = ManyInputs(INPUTS)
    many.append((b"x" * 16, None, b"outcome"))
    many.append((b"y" * 16, 70_000_000_000, None))
    many.append((b"z" * 16, None, None))
    assert len(many) == 53
    assert list(many)[:50] == [(upstream_id, len(value), None) for upstream_id, value, _ in INPUTS]
    assert [size for _, size, _ in list(many)[50:]] == [7, 70_000_000_000, 0]
    assert many[10:12] == list(many)[10:12]
    assert many[51:99] == list(many)[51:]


def test_they_take_little_memory() -> None:
    many = ManyInputs((at.to_bytes(16, "big"), b"v" * 200, None) for at in range(10_000))
    assert sum(sys.getsizeof(part) for part in (many._ids, many._sizes)) < 30 * 10_000
