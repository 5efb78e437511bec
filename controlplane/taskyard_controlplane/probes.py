"""/healthz and /metrics on the HTTP port, on one thread of the owner's process.

It is a thread beside the event loop, and has to be cheap, because the interpreter it runs in is the
owner's: a request copies some numbers and formats a page of text, a few milliseconds every few seconds.
Numbers are read while the loop changes them, so those of one page may be of slightly different moments;
lists are copied in one step.

Invariant: a probe only reads plain numbers; it never waits for the event loop, so it can tell that the loop
is stuck.
"""

from collections.abc import Callable, Iterator
from http import HTTPStatus
from time import monotonic
from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from taskyard_contract.states import AgentState, RunState
from taskyard_contract.versions import VERSION
from taskyard_controlplane.http_port import Answer, HttpPort, Paths
from taskyard_controlplane.owner.metrics import Metrics
from taskyard_controlplane.owner.serving.owner import Owner

PAGE_SECONDS: Final = 1.0
"""How old a page of metrics may be: making one takes some milliseconds of the owner's interpreter."""
MAX_FORMATS: Final = 8
"""Of pages that are kept; callers may ask for any."""

_COUNTERS: Final = (
    ("submitted_runs", "taskyard_runs_submitted", "Runs accepted."),
    ("refused_runs", "taskyard_runs_refused", "Runs refused at submission."),
    ("assigned_runs", "taskyard_runs_assigned", "Assignments of runs to agents."),
    ("adopted_runs", "taskyard_runs_adopted", "Running runs taken over after a restart."),
    ("stale_reports", "taskyard_stale_reports", "Reports under an old epoch, acknowledged without effect."),
    ("leases_expired", "taskyard_leases_expired", "Leases of agents and sessions that lapsed."),
    ("commits", "taskyard_commits", "Database transactions of the owner."),
    ("commit_failures", "taskyard_commit_failures", "Transactions that had to be tried again."),
    ("dropped_logs", "taskyard_dropped_logs", "Log records that were not kept."),
    ("unstorable_rows", "taskyard_unstorable_rows", "Rows that no database can hold, set aside."),
    ("committed_rows", "taskyard_committed_rows", "Rows written and looked up by them."),
    ("commit_seconds", "taskyard_commit_seconds", "Time spent in them."),
)


class OwnerCollector(Collector):
    """Turns the owner's plain numbers into metrics when somebody asks."""

    def __init__(self, owner: Owner, lag_seconds: Callable[[], float]) -> None:
        """Read from an owner; `lag_seconds` says for how long its event loop was last held up."""
        self._owner = owner
        self._lag_seconds = lag_seconds

    def collect(self) -> Iterator[Metric]:
        """Return the metrics as they are now."""
        yield InfoMetricFamily("taskyard_build", "Version of the server.", value={"version": VERSION})
        metrics = self._owner.metrics
        for attribute, name, text in _COUNTERS:
            yield CounterMetricFamily(name, text, value=getattr(metrics, attribute))
        yield from _labelled_counters(metrics)
        yield from self._gauges()

    def _gauges(self) -> Iterator[Metric]:
        owner = self._owner
        agents = list(owner.agents)
        yield GaugeMetricFamily("taskyard_open_runs", "Open runs in memory.", value=owner.open_count())
        yield GaugeMetricFamily(
            "taskyard_backlog_runs", "Queued runs beyond the memory window.", value=owner.backlog_count()
        )
        yield GaugeMetricFamily(
            "taskyard_sessions", "Sessions, connected or leased.", value=len(owner.sessions)
        )
        yield GaugeMetricFamily(
            "taskyard_shard_generation", "Generation of the owner.", value=owner.generation
        )
        yield GaugeMetricFamily(
            "taskyard_database_stalled",
            "Whether the database refuses commits, or has not answered for 5 seconds.",
            value=owner.stalled,
        )
        yield GaugeMetricFamily(
            "taskyard_event_loop_lag_seconds", "Last delay of the event loop.", value=self._lag_seconds()
        )
        yield GaugeMetricFamily(
            "taskyard_held_runs", "Runs agents hold.", value=sum(len(agent.held) for agent in agents)
        )
        yield _by_state("taskyard_agents", "Agents.", agents, lambda agent: 1)
        yield _by_state("taskyard_agent_slots", "Workers of agents.", agents, lambda agent: agent.slots)


def _labelled_counters(metrics: Metrics) -> Iterator[Metric]:
    ended = CounterMetricFamily("taskyard_runs_ended", "Runs that ended.", labels=["state"])
    for state, count in list(metrics.ended.items()):
        ended.add_metric([RunState(state).name], count)
    yield ended
    retries = CounterMetricFamily("taskyard_run_retries", "Attempts repeated.", labels=["cause"])
    retries.add_metric(["user_code"], metrics.retries)
    retries.add_metric(["infrastructure"], metrics.infra_retries)
    yield retries
    cache = CounterMetricFamily("taskyard_cache_requests", "Cache keys looked up.", labels=["result"])
    cache.add_metric(["hit"], metrics.cache_hits)
    cache.add_metric(["miss"], metrics.cache_misses)
    yield cache


def _by_state(name: str, text: str, agents: list[Any], amount: Callable[[Any], int]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["state"])
    totals = dict.fromkeys(AgentState, 0)
    for agent in agents:
        totals[AgentState(agent.state)] += amount(agent)
    for state, total in totals.items():
        family.add_metric([state.name], total)
    return family


class ProbeServer:
    """Answers /healthz and /metrics: also when the owner's event loop is stuck."""

    def __init__(self, listen: str) -> None:
        """Listen on ``HOST:PORT``; `start` answers.

        Raises:
            ListenFailed: The address cannot be bound.
        """
        self._port = HttpPort(listen)
        self.address = self._port.address

    def start(self, collector: Collector, why_unhealthy: Callable[[], str]) -> None:
        """Answer from here on.

        Args:
            collector: Provides the metrics.
            why_unhealthy: Returns what is wrong, the empty string for nothing.
        """
        registry = CollectorRegistry()
        registry.register(collector)
        ProcessCollector(registry=registry)
        self._port.start(probe_paths(MetricsPage(registry), why_unhealthy))

    def stop(self) -> None:
        """Close the port."""
        self._port.stop()


class MetricsPage:
    """All metrics as one page, in the format the caller takes; made once for all who ask at the same time."""

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float] = monotonic) -> None:
        """Show what is in `registry`; `clock` gives seconds that never jump."""
        self._registry = registry
        self._clock = clock
        self._pages: dict[str, tuple[float, bytes]] = {}

    def __call__(self, accepted: str) -> Answer:
        """Return the page, at most `PAGE_SECONDS` old."""
        write, content_type = choose_encoder(accepted)
        now = self._clock()
        made, page = self._pages.get(content_type, (now - PAGE_SECONDS, b""))
        if now - made >= PAGE_SECONDS:
            page = write(self._registry)
            if len(self._pages) >= MAX_FORMATS:
                self._pages.clear()
            self._pages[content_type] = now, page
        return Answer(HTTPStatus.OK, page, content_type)


def probe_paths(metrics: Callable[[str], Answer], why_unhealthy: Callable[[], str]) -> Paths:
    """Return what answers each path: the metrics, and 503 while something is wrong."""

    def health(_accepted: str) -> Answer:
        reason = why_unhealthy()
        if reason:
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, f"{reason}\n".encode())
        return Answer(HTTPStatus.OK, b"ok\n")

    return {"/healthz": health, "/metrics": metrics}
