"""How long the unary calls of agents may wait."""

import pytest

from taskyard_controlplane.rpc.polling import longest_wait


@pytest.mark.parametrize(
    ("asked", "lease", "remaining", "wait"),
    [
        (2.0, 30.0, None, 2.0),
        (60.0, 30.0, None, 10.0),
        (60.0, 30.0, 100.0, 10.0),
        (60.0, 30.0, 5.0, 4.0),
        (0.0, 30.0, 5.0, 0.0),
        (60.0, 30.0, 0.0, 0.0),
    ],
)
def test_a_wait_ends_before_the_lease_and_the_deadline(
    asked: float, lease: float, remaining: float | None, wait: float
) -> None:
    assert longest_wait(asked, lease, remaining) == pytest.approx(wait)
