"""When the next attempt begins: as templates say, or sooner where nobody is to wait for it."""

import pytest

from taskyard_contract.states import RunState
from taskyard_controlplane.domain.model import Run, Template
from taskyard_controlplane.owner.rules.retry_delays import RetryDelays


def run(attempt: int, jitter: float = 0.0) -> Run:
    template = Template(1, b"", b"", name="task", max_retries=5, delays=(10.0, 60.0), jitter=jitter)
    made = Run(1, b"r" * 16, template, RunState.AWAITING_RETRY, None, None, None, 0, 0)
    made.attempt = attempt
    return made


@pytest.mark.parametrize(
    ("factor", "expected"), [(1.0, [10.0, 60.0, 60.0]), (0.5, [5.0, 30.0, 30.0]), (0.0, [0] * 3)]
)
def test_delays_are_multiplied(factor: float, expected: list[float]) -> None:
    delays = RetryDelays(lambda: 0.5, factor)
    assert [delays.of(run(attempt)) for attempt in (2, 3, 4)] == expected


def test_the_factor_is_of_what_jitter_has_drawn() -> None:
    assert RetryDelays(lambda: 0.0).of(run(2, jitter=0.5)) == 5.0
    assert RetryDelays(lambda: 0.0, 0.1).of(run(2, jitter=0.5)) == pytest.approx(0.5)
