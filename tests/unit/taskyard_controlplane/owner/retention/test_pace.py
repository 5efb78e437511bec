"""How fast retention removes: the faster, the further it is behind, and never so that others get nothing."""

from taskyard_controlplane.owner.retention.pace import (
    LARGE_STEP,
    LEAST_SHARE,
    PRUNING_SHARE,
    SHARE,
    STEP,
    Pace,
)


def behind(part: float) -> Pace:
    pace = Pace()
    pace.behind(part)
    return pace


def test_it_takes_little_of_the_writer_when_it_keeps_up() -> None:
    assert (Pace().share, Pace().step) == (SHARE, STEP)
    assert (behind(-1.0).share, behind(-1.0).step) == (SHARE, STEP)


def test_it_takes_more_the_further_it_is_behind_but_never_most() -> None:
    shares = [behind(part).share for part in (0.0, 0.5, 1.0, 2.0, 100.0, 1e9)]
    assert shares == sorted(shares, reverse=True)
    assert shares[2] == SHARE / 2
    assert shares[-1] == shares[-2] == LEAST_SHARE > 1.0
    assert behind(1.0).step == LARGE_STEP


def test_it_takes_half_while_somebody_waits_however_far_behind_it_is() -> None:
    pace = behind(5.0)
    pace.is_awaited = True
    assert (pace.share, pace.step) == (PRUNING_SHARE, STEP)
    pace.is_awaited = False
    assert (pace.share, pace.step) == (LEAST_SHARE, LARGE_STEP)
