"""How far something is, as one line: what it says, and how it fits."""

import re

import pytest

from taskyard.logging.progress_line import Counts, Pace, line, rate_text, shortened, time_text

NAME = "great-ammonite"


def pace_of(*marks: tuple[float, Counts], begun: float = 0.0) -> Pace:
    pace = Pace(begun)
    for now, counts in marks:
        pace.note(now, counts)
    return pace


def plain(counts: Counts, pace: Pace, width: int = 200, **more: str) -> str:
    return line(NAME, counts, pace, width, colours=False, **more)


BUSY = Counts(2_000, 1_200, failed=3, running=2)
STEADY = pace_of((0.5, Counts(2_000, 0)), (3, BUSY))


def test_it_says_what_is_done_fails_runs_and_waits_how_fast_and_how_long_still():
    assert plain(BUSY, STEADY, detail="step") == (
        f"{NAME}: step 1,200/2,000 done, 3 failed, 2 running, 798 waiting, 400/s, 2 s left"
    )


def test_where_nobody_knows_what_is_executed_the_rest_is_open():
    assert plain(Counts(10, 4), Pace(0)) == f"{NAME} 4/10 done, 6 open"


def test_runs_too_quick_to_be_seen_are_not_said_to_be_none():
    counts = Counts(2_000, 1_200, running=0)
    assert "running" not in plain(counts, pace_of((3, counts)))
    assert "0 running" in plain(Counts(5, 0, running=0), Pace(0))


@pytest.mark.parametrize("width", range(10, 120))
def test_it_never_takes_more_columns_than_there_are(width):
    shown = plain(BUSY, STEADY, width, detail="step")
    assert len(shown) <= width
    coloured = line(NAME, BUSY, STEADY, width, detail="step")
    assert re.sub(r"\x1b\[\d+m", "", coloured) == shown


def test_what_matters_least_goes_first():
    widths = {80: ["failed", "running", "waiting", "left"], 70: ["failed", "running", "left"], 40: ["failed"]}
    for width, words in widths.items():
        shown = plain(BUSY, STEADY, width, detail="step")
        assert [word for word in ("failed", "running", "waiting", "left") if word in shown] == words, shown
        assert "1,200/2,000 done" in shown


def test_half_a_million_fits_80_columns():
    counts = Counts(500_000, 312_034, running=2)
    shown = plain(counts, pace_of((0.1, Counts(500_000, 0)), (6, counts)), 80)
    assert shown == f"{NAME} 312,034/500,000 done, 2 running, 187,964 waiting, 4 s left"


def test_the_rate_is_that_of_the_last_seconds():
    pace = pace_of(*((float(second), Counts(10_000, 100 * min(second, 20))) for second in range(1, 30)))
    assert pace.per_second == pytest.approx(100 * 6 / 15)


def test_a_rate_begins_where_the_work_does():
    pace = Pace(0)
    pace.begin_at(100, 5_000)
    pace.note(101, Counts(10_000, 5_010))
    assert pace.per_second == 10


def test_no_time_left_is_told_of_what_has_just_become_more():
    pace = pace_of((1, Counts(100, 50)))
    assert pace.seconds_left(Counts(100, 50)) is None
    pace.note(3, Counts(100, 60))
    assert pace.seconds_left(Counts(100, 60)) == pytest.approx(2)
    pace.note(3.2, Counts(200, 60))
    assert pace.seconds_left(Counts(200, 60)) is None


@pytest.mark.parametrize("counts", [Counts(0, 0), Counts(5, 5), Counts(5, 0)])
def test_no_time_left_is_told_where_there_is_none_or_nothing_has_ended(counts):
    assert pace_of((1, counts), (10, counts)).seconds_left(Counts(5, 0)) is None or counts.open == 0
    assert "left" not in plain(counts, pace_of((1, counts), (10, counts)))


def test_counts_that_do_not_agree_yet_are_never_negative():
    counts = Counts(5, 7, running=3)
    assert (counts.open, counts.waiting) == (0, 0)
    assert Counts(5, 4, running=3).waiting == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (12.4, "12 s"), (59.4, "59 s"), (187, "3:07"), (3_723, "1:02:03"), (500_000, "5 days")],
)
def test_a_time_is_as_exact_as_it_can_be_meant(seconds, text):
    assert time_text(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"), [(8_412.3, "8,412/s"), (3.21, "3.2/s"), (0.2, "12/min"), (0.001, "4/h")]
)
def test_a_rate_has_the_unit_that_people_would_take(rate, text):
    assert rate_text(rate) == text


def test_a_name_cannot_move_the_cursor():
    assert shortened("a\x1b[2Jb\n", 20) == "a?[2Jb?"
    assert shortened("longer than that", 8) == "longer …"
