"""Liveness is judged from outside the event loop."""

from http import HTTPStatus

import pytest
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector
from support.turned_clock import TurnedClock

from taskyard_controlplane.http_port import Answer
from taskyard_controlplane.probes import MetricsPage, probe_paths
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
    ("path", "reason", "answer"),
    [
        ("/healthz", "", (200, b"ok\n")),
        ("/healthz", "stuck", (503, b"stuck\n")),
        ("/metrics", "stuck", (200, b"numbers")),
    ],
)
def test_paths_have_their_answers(path: str, reason: str, answer: tuple[int, bytes]) -> None:
    paths = probe_paths(lambda accepted: Answer(HTTPStatus.OK, b"numbers"), lambda: reason)
    assert paths[path]("")[:2] == answer


def test_a_page_of_metrics_is_made_once_a_second_and_in_the_format_that_is_taken() -> None:
    clock, made = TurnedClock(), []

    class Counting(Collector):
        def collect(self) -> list[Metric]:
            made.append(clock.seconds)
            return []

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Counting())
    made.clear()
    page = MetricsPage(registry, clock.monotonic)
    assert page("").content_type.startswith("text/plain")
    for _ in range(100):
        page("")
    assert len(made) == 1
    assert page("application/openmetrics-text").content_type.startswith("application/openmetrics-text")
    clock.seconds += 1
    page("")
    assert len(made) == 3
