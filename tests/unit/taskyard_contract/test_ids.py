"""Ids: what others may rely on in their bytes."""

from uuid import UUID

from taskyard_contract.id_factory import IdFactory
from taskyard_contract.ids import format_id


def test_an_id_is_a_uuid_of_version_7_and_ends_with_its_shard() -> None:
    run_id = IdFactory(0x1234).new()
    assert UUID(format_id(run_id)).version == 7
    assert run_id[-2:] == b"\x12\x34"


def test_ids_are_in_the_order_in_which_they_were_made_beyond_what_one_millisecond_has_room_for() -> None:
    ids = IdFactory().many(10_000)
    assert ids == sorted(set(ids))
