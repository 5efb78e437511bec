"""What a soak says of the figures that it has read."""

import pytest

from soak.growth import Allowed, Wave, grown

LIMITS = {"disk": Allowed(10, 0.1)}


def waves(*megabytes: float) -> list[Wave]:
    return [Wave(10.0 * number, {"disk": each}) for number, each in enumerate(megabytes)]


def test_what_stays_as_it_is_is_fine() -> None:
    assert grown(waves(*[100.0, 101.0] * 10), 0, LIMITS) == []


def test_what_grows_is_named_with_its_figures() -> None:
    [fault] = grown(waves(*range(0, 400, 10)), 0, LIMITS)
    assert fault == "disk grew from 45.0 to 345.0 MB in 40 waves"


def test_what_grows_while_it_warms_up_does_not_count() -> None:
    figures = [*range(0, 200, 10), *[200.0] * 20]
    assert grown(waves(*figures), 200, LIMITS) == []
    assert grown(waves(*figures), 0, LIMITS) != []


def test_a_figure_that_is_high_once_does_not_count() -> None:
    assert grown(waves(*[100.0] * 19, 500.0), 0, LIMITS) == []


def test_what_is_large_may_differ_by_a_share() -> None:
    assert grown(waves(*[1_000.0] * 10, *[1_090.0] * 10), 0, LIMITS) == []
    assert grown(waves(*[1_000.0] * 10, *[1_110.0] * 10), 0, LIMITS) != []


def test_a_few_waves_say_nothing() -> None:
    with pytest.raises(ValueError, match="there were 7 waves after the first 30 s"):
        grown(waves(*[100.0] * 10), 30, LIMITS)
