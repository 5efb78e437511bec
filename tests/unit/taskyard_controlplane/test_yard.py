"""When a yard ends, and that there is only one."""

from pathlib import Path

import pytest

from taskyard_controlplane import yard
from taskyard_controlplane.settings import YardSettings


def test_a_yard_ends_after_idling_for_long_enough() -> None:
    clock = yard.IdleClock(10)
    assert [clock.observe(True, now) for now in (0, 9, 10)] == [False, False, True]


def test_work_starts_the_idle_time_anew() -> None:
    clock = yard.IdleClock(10)
    clock.observe(True, 0)
    clock.observe(False, 9)
    assert [clock.observe(True, now) for now in (10, 19, 20)] == [False, False, True]


def test_zero_idle_seconds_mean_never() -> None:
    clock = yard.IdleClock(0)
    assert not any(clock.observe(True, now) for now in (0, 10**6))


def test_a_home_has_one_yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = YardSettings(home=tmp_path, slots=1)
    monkeypatch.setattr(yard, "LOCK_SECONDS", 0)
    with yard.sole_yard(settings):
        assert (tmp_path / "yard.pid").read_text().strip().isdigit()
        with pytest.raises(yard.YardInUse, match=str(tmp_path)), yard.sole_yard(settings):
            pytest.fail("two yards hold one home")
    assert not (tmp_path / "yard.pid").exists()
    with yard.sole_yard(settings):
        pass
