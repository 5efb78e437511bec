"""Ids: what others may rely on in their bytes."""

from uuid import UUID

import pytest

from taskyard_contract.id_factory import IdFactory, new_ids
from taskyard_contract.ids import are_run_ids, format_id


def test_an_id_is_a_uuid_of_version_7_and_ends_with_its_shard() -> None:
    run_id = IdFactory(0x1234).new()
    assert UUID(format_id(run_id)).version == 7
    assert run_id[-2:] == b"\x12\x34"


def test_ids_are_in_the_order_in_which_they_were_made_beyond_what_one_millisecond_has_room_for() -> None:
    ids = IdFactory().many(10_000)
    assert ids == sorted(set(ids))


@pytest.mark.parametrize("position", [0, 1, 6])
@pytest.mark.parametrize(
    "strange",
    [
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "5df41881-3aed-4000-8ca7-8c4a0b5e0000",  # of version 4
        "01900000-0000-7000-4000-000000000000",  # of another variant
        "01900000-0000-7000-8000-000000000001",  # of the shards 1
        "01900000-0000-7000-8000-000000000100",  # and 256
    ],
)
def test_one_id_that_no_new_run_may_have_is_found_among_others(strange: str, position: int) -> None:
    ids = new_ids(7)
    assert are_run_ids(b"".join(ids))
    ids[position] = UUID(strange).bytes
    assert not are_run_ids(b"".join(ids))
    assert not are_run_ids(ids[position])


@pytest.mark.parametrize("position", range(16))
def test_only_the_version_the_variant_and_the_shard_of_an_id_are_said(position: int) -> None:
    [run_id] = new_ids(1)
    changed = [run_id[:position] + bytes([byte]) + run_id[position + 1 :] for byte in range(256)]
    free = sum(map(are_run_ids, changed))
    assert free == {6: 16, 8: 64, 14: 1, 15: 1}.get(position, 256)


def test_a_forked_child_makes_ids_whatever_other_threads_of_its_parent_did() -> None:
    factory = IdFactory()
    with factory._lock:  # as a thread that is in the midst of it
        factory.reset()
        assert len(factory.new()) == 16
