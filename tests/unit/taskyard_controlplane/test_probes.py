"""Liveness is judged from outside the event loop."""

from typing import Any

import pytest
from support.turned_clock import TurnedClock

from taskyard_controlplane.probes import probe_app
from taskyard_controlplane.pulse import BEAT_SECONDS, Pulse


def test_a_loop_that_beats_is_healthy() -> None:
    clock = TurnedClock()
    pulse = Pulse(clock, 10)
    clock.seconds += 9
    assert pulse.why_unhealthy() == ""
    pulse.beat()
    clock.seconds += 9
    assert pulse.why_unhealthy() == ""


def test_a_loop_that_is_stuck_is_not() -> None:
    clock = TurnedClock()
    pulse = Pulse(clock, 10)
    clock.seconds += 11
    assert "11 s" in pulse.why_unhealthy()


def test_the_lag_is_what_a_beat_came_late() -> None:
    clock = TurnedClock()
    pulse = Pulse(clock, 10)
    clock.seconds += BEAT_SECONDS + 0.25
    pulse.beat()
    assert pulse.lag_seconds == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("path", "reason", "status", "body"),
    [
        ("/healthz", "", "200 OK", b"ok\n"),
        ("/healthz", "stuck", "503 Service Unavailable", b"stuck\n"),
        ("/metrics", "stuck", "200 OK", b"numbers"),
        ("/", "", "404 Not Found", b"there are /healthz and /metrics\n"),
    ],
)
def test_paths_have_their_answers(path: str, reason: str, status: str, body: bytes) -> None:
    def metrics(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"numbers"]

    said = []
    app = probe_app(metrics, lambda: reason)
    answer = app({"PATH_INFO": path}, lambda status, headers: said.append(status))
    assert (said, b"".join(answer)) == ([status], body)
