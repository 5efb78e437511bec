from uuid import UUID

import pytest
from support.fake_services import make_run, run_id

from taskyard._data.runs.short_ids import ShortIds
from taskyard.cli.views.output import clock_time
from taskyard_contract.ids import format_id
from taskyard_contract.states import RunState

WHOLE = format_id(run_id(5))


@pytest.mark.parametrize("text", [WHOLE, WHOLE.replace("-", ""), WHOLE.upper()])
def test_a_whole_id_is_read_at_once(services, call, text):
    services.runs = [make_run(5)]
    assert call("run", "show", text, "--json").document["id"] == WHOLE
    assert services.asked == []


def test_a_whole_id_nobody_has(services, call):
    called = call("run", "show", WHOLE)
    assert called.code == 1
    assert "there is no run" in called.err


@pytest.mark.parametrize("digits", [8, 13, 20])
def test_the_beginning_of_an_id(services, call, digits):
    services.runs = [make_run(1, "019b7599"), make_run(5), make_run(2, "019b7601")]
    assert call("run", "show", WHOLE[:digits], "--json").document["id"] == WHOLE


def test_a_beginning_that_fits_several_names_them(services, call):
    services.runs = [make_run(number) for number in range(9)]
    called = call("run", "show", WHOLE[:8])
    assert called.code == 1
    assert "(add-0, Completed, " in called.err
    assert "..." in called.err
    assert "give more of the id" in called.err


def test_seven_digits_are_too_few(services, call):
    services.runs = [make_run(5)]
    called = call("run", "show", WHOLE[:7])
    assert called.code == 1
    assert "at least 8 digits of it" in called.err


def test_the_part_of_an_id_that_is_shown_on_a_terminal(services, call):
    ids = [f"01a22968-5ba6-700{number}-9081-9537dfca0000" for number in (5, 4, 3)]
    services.runs = [make_run(0, run_id=UUID(each).bytes, name="t-0") for each in ids]
    parts = ShortIds(run.run_id for run in services.runs)
    for run, whole in zip(services.runs, ids, strict=True):
        part = parts.of(run.run_id)
        assert part in whole
        assert call("run", "show", part, "--json").document["id"] == whole
    assert call("run", "show", "9081-9537dfca").code == 1, "the end is that of all runs of a program"


def test_a_beginning_wins_over_the_same_digits_elsewhere(services, call):
    services.runs = [make_run(1, run_id=bytes.fromhex("aa019b7600" + "0" * 22)), make_run(5)]
    assert call("run", "show", "019b7600", "--json").document["id"] == WHOLE


def test_a_name_has_to_be_whole(services, call):
    services.runs = [make_run(5, name="fetch-1"), make_run(6, name="fetch-10")]
    called = call("run", "show", "fetch-1", "--json")
    assert (called.document["id"], called.err) == (WHOLE, "")
    assert call("run", "show", "fetch").code == 1


def test_of_several_runs_of_a_name_the_newest_is_shown_and_the_others_are_named(services, call):
    services.runs = [make_run(5, name="t-0"), make_run(4, name="t-0", state=RunState.FAILED)]
    called = call("run", "show", "t-0", "--json")
    assert (called.code, called.document["id"]) == (0, WHOLE)
    assert "2 runs are called 't-0'; this is the newest, others are " in called.err
    assert f"{ShortIds([run_id(4), run_id(5)]).of(run_id(4))} (t-0, Failed, " in called.err


def test_what_is_changed_is_the_only_open_run_of_a_name(services, call):
    ended, open_one = make_run(7, name="t-0"), make_run(5, name="t-0", state=RunState.RUNNING)
    services.runs = [ended, open_one]
    assert call("run", "cancel", "t-0").out == "t-0 is Cancelled\n"
    assert services.asked[-1].run_id == run_id(5)
    services.runs = [ended, make_run(6, name="t-0")]
    assert "has ended already" in call("run", "cancel", "t-0").out


def test_of_several_open_runs_of_a_name_none_is_changed(services, call):
    services.runs = [make_run(number, name="t-0", state=RunState.RUNNING) for number in (7, 6)]
    called = call("run", "cancel", "t-0")
    assert called.code == 1
    assert "several open runs are called 't-0': " in called.err
    assert "Running" in called.err


def test_a_name_may_look_like_an_id(services, call):
    services.runs = [make_run(5, name="deadbeef")]
    assert call("run", "show", "deadbeef", "--json").document["id"] == WHOLE


def test_a_name_that_was_not_found_far_back_says_how_far(services, call):
    services.most_looked_at = 2
    services.runs = [make_run(number, submitted_us=number * 1_000_000) for number in (9, 8, 7, 6)]
    called = call("run", "show", "add-6")
    assert called.code == 1
    assert f"no run 'add-6' among those submitted since {clock_time(8_000_000)[:-4]}" in called.err
