import pytest
from support.fake_services import make_run, run_id

from taskyard.cli.views.output import clock_time
from taskyard_contract.ids import format_id

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
    assert f"{format_id(run_id(0))} (add-0)" in called.err
    assert "..." in called.err
    assert "give more of the id" in called.err


def test_seven_digits_are_too_few(services, call):
    services.runs = [make_run(5)]
    called = call("run", "show", WHOLE[:7])
    assert called.code == 1
    assert "at least its first 8 digits" in called.err


def test_a_name_has_to_be_whole_and_the_only_one(services, call):
    services.runs = [make_run(5, name="fetch-1"), make_run(6, name="fetch-10"), make_run(7, name="fetch-10")]
    assert call("run", "show", "fetch-1", "--json").document["id"] == WHOLE
    assert "fits several runs" in call("run", "show", "fetch-10").err
    assert call("run", "show", "fetch").code == 1


def test_a_name_may_look_like_an_id(services, call):
    services.runs = [make_run(5, name="deadbeef")]
    assert call("run", "show", "deadbeef", "--json").document["id"] == WHOLE


def test_a_name_that_was_not_found_far_back_says_how_far(services, call):
    services.most_looked_at = 2
    services.runs = [make_run(number, submitted_us=number * 1_000_000) for number in (9, 8, 7, 6)]
    called = call("run", "show", "add-6")
    assert called.code == 1
    assert f"no run 'add-6' among those submitted since {clock_time(8_000_000)[:-4]}" in called.err
