from uuid import UUID

import pytest

from taskyard._data.runs.short_ids import ShortIds, short_id
from taskyard_contract.id_factory import IdFactory
from taskyard_contract.ids import format_id

WHOLE = "01a22968-5ba6-7004-9081-9537dfca0000"


def raw(text: str) -> bytes:
    return UUID(text).bytes


def test_the_part_is_that_in_which_runs_of_a_program_differ():
    assert short_id(raw(WHOLE)) == "68-5ba6-7004"


def test_it_is_longer_when_two_programs_made_an_id_in_the_same_millisecond():
    ids = [raw(WHOLE), raw("01a22968-5ba6-7004-9181-9537dfca0000")]
    shown = ShortIds(ids)
    assert [shown.of(each) for each in ids] == ["68-5ba6-7004-90", "68-5ba6-7004-91"]


@pytest.mark.parametrize("other", ["01a22868-5ba6-7004-9081-9537dfca0000", WHOLE])
def test_ids_that_differ_nowhere_else_are_shown_as_far_as_that(other):
    ids = [raw(WHOLE), raw(other)]
    shown = ShortIds(ids)
    assert len({shown.of(each) for each in ids}) == len(set(ids))


def test_what_is_no_uuid_is_shown_whole():
    assert ShortIds([b"short"]).of(b"short") == format_id(b"short")
    assert ShortIds([]).of(b"") == ""


def test_thousands_of_runs_of_some_programs_are_told_apart():
    ids = [each for _ in range(5) for each in IdFactory(now_ns=lambda: 1_767_225_600_000_000_000).many(2_000)]
    shown = ShortIds(ids)
    parts = {shown.of(each) for each in ids}
    assert len(parts) == len(ids)
    assert all(part in format_id(each) for each in ids for part in [shown.of(each)])
