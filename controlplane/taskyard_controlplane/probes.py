"""/healthz and /metrics on the HTTP port, on a thread of the owner's process.

It is a thread beside the event loop, and has to be cheap, because the interpreter it runs in is the
owner's: a request copies some numbers and formats a page of text, a few milliseconds every few seconds.
Numbers are read while the loop changes them, so those of one page may be of slightly different moments;
lists are copied in one step.

Invariant: a probe only reads plain numbers; it never waits for the event loop, so it can tell that the loop
is stuck.
"""

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from socketserver import ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from taskyard_contract.states import AgentState, RunState
from taskyard_contract.versions import VERSION
from taskyard_controlplane.owner.metrics import Metrics
from taskyard_controlplane.owner.serving.owner import Owner
from taskyard_controlplane.rpc.addresses import ensure_free, split_host_port

REQUEST_SECONDS: Final = 10.0
"""How long a client may keep a thread that it says nothing to."""

_COUNTERS: Final = (
    ("submitted_runs", "taskyard_runs_submitted", "Runs accepted."),
    ("refused_runs", "taskyard_runs_refused", "Runs refused at submission."),
    ("assigned_runs", "taskyard_runs_assigned", "Assignments of runs to agents."),
    ("adopted_runs", "taskyard_runs_adopted", "Running runs taken over after a restart."),
    ("stale_reports", "taskyard_stale_reports", "Reports under an old epoch, acknowledged without effect."),
    ("leases_expired", "taskyard_leases_expired", "Leases of agents and sessions that lapsed."),
    ("commits", "taskyard_commits", "Database transactions of the owner."),
    ("commit_failures", "taskyard_commit_failures", "Transactions that had to be tried again."),
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


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_SECONDS

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a probe every second is not news."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without asking the name service for this machine's name, which can take seconds."""
        # A server that was killed leaves closed connections behind, which keep the port for a minute.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


class ProbeServer:
    """Answers /healthz and /metrics, on threads of its own: also when the event loop is stuck."""

    def __init__(self, listen: str) -> None:
        """Listen on ``HOST:PORT``; `start` answers.

        Raises:
            ListenFailed: The address cannot be bound.
        """
        ensure_free(listen)
        self._server = _Server(split_host_port(listen), _Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="probes", daemon=True)
        host, port = self._server.server_address[:2]
        self.address = f"{host!s}:{port}"

    def start(self, collector: Collector, why_unhealthy: Callable[[], str]) -> None:
        """Answer from here on.

        Args:
            collector: Provides the metrics.
            why_unhealthy: Returns what is wrong, the empty string for nothing.
        """
        registry = CollectorRegistry()
        registry.register(collector)
        ProcessCollector(registry=registry)
        self._server.set_app(probe_app(make_wsgi_app(registry), why_unhealthy))
        self._thread.start()

    def stop(self) -> None:
        """Close the port, once the answers under way are given."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


def probe_app(metrics_app: Any, why_unhealthy: Callable[[], str]) -> Any:
    """Return the WSGI application that hands metrics on and answers 503 while something is wrong."""

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            answer: Iterable[bytes] = metrics_app(environ, start_response)
            return answer
        if path != "/healthz":
            return _plain(start_response, "404 Not Found", "there are /healthz and /metrics\n")
        reason = why_unhealthy()
        if reason:
            return _plain(start_response, "503 Service Unavailable", f"{reason}\n")
        return _plain(start_response, "200 OK", "ok\n")

    return app


def _plain(start_response: Any, status: str, text: str) -> list[bytes]:
    start_response(
        status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))]
    )
    return [text.encode()]
