"""In which steps what comes into a directory is synced."""

from pathlib import Path

import pytest

from taskyard_contract.blobs.directory import RESERVED_BYTES
from taskyard_contract.blobs.giving_way import GivingWay
from taskyard_controlplane.blobs.directory import DirectoryStore


@pytest.mark.parametrize(
    ("gives_way", "size", "pauses"),
    [(True, RESERVED_BYTES, True), (True, RESERVED_BYTES - 1, False), (False, RESERVED_BYTES, False)],
)
def test_large_blobs_are_received_with_pauses_by_whoever_asks_for_it(
    tmp_path: Path, gives_way: bool, size: int, pauses: bool
) -> None:
    store = DirectoryStore(tmp_path, gives_way=gives_way)
    assert isinstance(store.steps(size), GivingWay) is pauses
