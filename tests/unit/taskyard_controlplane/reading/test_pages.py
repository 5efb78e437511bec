"""Pages are cut by bytes, and have at least one item."""

from taskyard_api.v1.run_service_pb2 import RunStateEntry
from taskyard_controlplane.reading.pages import PAGE_BYTES, first_page


def _items(*sizes: int) -> list[RunStateEntry]:
    return [RunStateEntry(message="x" * size) for size in sizes]


def test_small_items_are_counted() -> None:
    assert len(first_page(_items(*[1] * 10), 4)) == 4
    assert len(first_page(_items(1, 1), 4)) == 2
    assert len(first_page([], 4)) == 0


def test_large_items_are_weighed() -> None:
    half = PAGE_BYTES // 2
    assert len(first_page(_items(half, half, half), 9)) == 2
    assert len(first_page(_items(3 * PAGE_BYTES, 1), 9)) == 1
