"""Figures of several turns become one."""

from benchmarks.results import Metric, Result
from benchmarks.turns import merged


def result(system: str, variant: str = "20 MB", **metrics: Metric) -> Result:
    return Result("W6", system, variant, 40, "none", metrics)


def test_figures_of_one_name_become_their_median() -> None:
    turns = [result("ray", ms=each) for each in (3.0, 9.0, 1.0)]
    assert merged(turns) == [result("ray", ms=3.0, turns=3)]


def test_other_systems_and_variants_stay_apart_and_in_order() -> None:
    turns = [
        result("taskyard", ms=1),
        result("ray", ms=2),
        result("taskyard", "1 MB", ms=3),
    ]
    assert merged(turns) == turns


def test_a_turn_that_failed_does_not_count_as_one() -> None:
    failed = Result("W6", "ray", "20 MB", 40, "none", skipped="it ended")
    assert merged([result("ray", ms=2), failed]) == [result("ray", ms=2), failed]


def test_a_figure_that_only_some_turns_have_is_the_median_of_those() -> None:
    turns = [result("ray", ms=1, note="first"), result("ray", ms=3), result("ray", ms=None)]
    assert merged(turns)[0].metrics == {"ms": 2, "note": "first", "turns": 3}
