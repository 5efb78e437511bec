"""How long a session waits for a server that it has called."""

import pytest

from taskyard._network.session.stream import greeting_seconds
from taskyard_api.v1 import session_service_pb2 as pb


@pytest.mark.parametrize(
    ("lease", "seconds"), [(30.0, 15.0), (600.0, 15.0), (20.0, 10.0), (1.0, 3.0), (0.0, 15.0)]
)
def test_a_greeting_may_take_half_a_lease_within_bounds(lease: float, seconds: float) -> None:
    assert greeting_seconds(pb.SessionWelcome(lease_ms=round(lease * 1000))) == seconds
