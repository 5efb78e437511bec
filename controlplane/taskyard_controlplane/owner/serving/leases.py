"""Leases of agents and sessions: how long silence is tolerated.

Checked a few times per lease against an injected monotonic clock. While the database takes no commits, or
after this process itself was stopped for a while, silence proves nothing: then leases are extended instead.
"""

from collections.abc import Callable, Collection
from typing import Final

from taskyard_contract.clock import Clock
from taskyard_controlplane.owner.journal.committer import Committer
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.client_session import ClientSession
from taskyard_controlplane.owner.serving.terms import LeaseTimes
from taskyard_controlplane.owner.timers import Timers

CHECKS_PER_LEASE: Final = 10
"""So a lease lapses up to a tenth late, which is what a check more often would win."""
STALL_CHECKS: Final = 3
"""A gap of so many checks means that this process itself stood still, and heard nobody."""


class Leases:
    """Finds agents and sessions that were silent for too long, unless this process itself stood still."""

    def __init__(
        self,
        times: LeaseTimes,
        timers: Timers,
        clock: Clock,
        committer: Committer,
        agents: Callable[[], Collection[AgentSession]],
        sessions: Callable[[], Collection[ClientSession]],
        agent_lost: Callable[[AgentSession], None],
        session_lost: Callable[[ClientSession], None],
    ) -> None:
        """Watch `agents()` and `sessions()`, and call the other two when a lease has lapsed."""
        self._times = times
        self._timers = timers
        self._clock = clock
        self._committer = committer
        self._agents = agents
        self._sessions = sessions
        self._agent_lost = agent_lost
        self._session_lost = session_lost
        self._interval = min(times.agent_lease, times.session_lease) / CHECKS_PER_LEASE
        self._last_check = clock.monotonic()

    def start(self) -> None:
        """Check from now on; what was silent before that, while nobody listened, does not count."""
        self._last_check = self._clock.monotonic()
        self._timers.after(self._interval, self._tick, name="leases")

    def _tick(self) -> None:
        now = self._clock.monotonic()
        gap = now - self._last_check
        self._last_check = now
        if self._committer.stalled or gap > STALL_CHECKS * self._interval:
            self.excuse(gap)
        else:
            self._check(now)
        self._timers.after(self._interval, self._tick, name="leases")

    def excuse(self, seconds: float) -> None:
        """Leave out of everybody's silence so many seconds, in which nobody can have been heard."""
        now = self._clock.monotonic()
        for agent in self._agents():
            agent.excuse(seconds, now)
        for session in self._sessions():
            if session.disconnected_at is not None:
                session.disconnected_at = min(now, session.disconnected_at + seconds)

    def clock_was_set(self, seconds: float) -> None:
        """Take it that the clock was set forward, and nobody was silent for that long."""
        self.excuse(seconds)
        self._last_check += seconds

    def _check(self, now: float) -> None:
        for agent in list(self._agents()):
            if now - agent.last_seen > self._times.agent_lease:
                self._agent_lost(agent)
        for session in list(self._sessions()):
            gone_since = session.disconnected_at
            if gone_since is not None and now - gone_since > self._times.session_lease:
                self._session_lost(session)
