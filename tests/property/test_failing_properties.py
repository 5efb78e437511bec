"""A property that fails ends in seconds, and says with what."""

import asyncio
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture import engine
from support.failing_properties import SHRINKING_SECONDS, Blocked, bound_shrinking, not_blocked


def test_every_property_here_has_a_bound() -> None:
    assert engine.MAX_SHRINKING_SECONDS == SHRINKING_SECONDS


def test_making_an_example_smaller_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MAX_SHRINKING_SECONDS", engine.MAX_SHRINKING_SECONDS)
    bound_shrinking(0.2)
    played = 0

    @settings(database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.integers(), min_size=30))
    def fails(values: list[int]) -> None:
        nonlocal played
        played += 1
        time.sleep(0.005)  # what an example costs
        assert sum(abs(value) for value in values) < 30

    begun = time.monotonic()
    with pytest.raises(AssertionError):
        fails()
    assert time.monotonic() - begun < 20, f"{played} examples"


def test_an_example_that_blocks_ends_the_property() -> None:
    async def blocks() -> None:
        time.sleep(30)  # noqa: ASYNC251 - this is the defect

    played = 0

    @settings(database=None, deadline=None)
    @given(st.integers())
    def hangs(_: int) -> None:
        nonlocal played
        played += 1
        with not_blocked(0.2):
            asyncio.run(blocks())

    with pytest.raises(Blocked):
        hangs()
    assert played == 1
