"""The places of uploads, and of those that write."""

import pytest

from taskyard_contract.blobs.directory import RESERVED_BYTES
from taskyard_contract.errors import Overloaded
from taskyard_controlplane.data_process.uploads import WRITTEN, Uploads


def test_who_finds_no_place_is_told_to_come_again() -> None:
    uploads = Uploads(places=2, wait_seconds=0.0)
    with uploads.place(), uploads.place():
        with pytest.raises(Overloaded) as refused, uploads.place():
            pass
        assert refused.value.retry_after > 0
    with uploads.place(), uploads.place():
        pass  # both are free again


def test_a_place_is_given_back_after_a_failure() -> None:
    uploads = Uploads(places=1, wait_seconds=0.0)
    for _ in range(2):
        with pytest.raises(ValueError, match="x"), uploads.place():
            raise ValueError("x")


@pytest.mark.parametrize(("size", "most"), [(1, WRITTEN), (RESERVED_BYTES, 1)])
def test_so_many_write_at_a_time(size: int, most: int) -> None:
    uploads = Uploads()
    taken = [uploads.writing(size).acquire(blocking=False) for _ in range(most + 1)]
    assert taken == [True] * most + [False]


def test_small_uploads_do_not_wait_for_large_ones() -> None:
    uploads = Uploads()
    with uploads.writing(RESERVED_BYTES):
        assert uploads.writing(1).acquire(blocking=False)
