"""What an agent says it holds, against what the owner believes: decided with each hello.

Theory of operation. Whatever was on its way when a stream broke may have arrived or not, so each hello names
all that its session was ever assigned and that neither side has ended (`AgentHello.held`). Only a hello makes
the owner believe that an agent holds a run which this owner did not assign to it on the same stream; reports
about anything else say how a run ended, or nothing. What follows for each run:

- named, and its attempt is undecided: it goes on (adopted);
- named, and somebody else has it, or it has been decided: the agent is to drop it;
- not named, and assigned to this very session: it never arrived. It goes back to the queue, at nobody's
  expense; others get it first, and the agent is sent nothing for a while, because a path that swallows what
  is large would swallow the next chunk, too;
- not named, and assigned to an earlier process of the agent: lost, with everything that process had.
"""

import logging
from typing import Final

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.states import RunState, StateReason
from taskyard_controlplane.domain.events import RunEvent
from taskyard_controlplane.domain.model import HELD, Run
from taskyard_controlplane.owner.metrics import Metrics
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.rules.authority import may_report
from taskyard_controlplane.owner.shard.shard import Shard

log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 1.0
"""Seconds for which an agent is sent nothing after what it was sent did not arrive; doubled each time that
happens again before it has executed anything."""
LONGEST_PAUSE: Final = 60.0
"""A path that lets nothing through may get better; one chunk a minute finds out."""
RESTATE_SECONDS: Final = 2.0
"""For how long a run that an agent did not restate may still be reported by it: what it finished while it had
no stream comes right behind its hello, and needs far less."""


class Restating:
    """Reconciles the agents of a shard with its runs."""

    def __init__(self, shard: Shard, metrics: Metrics) -> None:
        """Decide about the runs of `shard`."""
        self._metrics = metrics
        self._succession = shard.succession
        self._book = shard.book
        self._timers = shard.timers
        self._settling = shard.settling
        self._reporting = shard.reporting
        self._dispatcher = shard.dispatcher

    def reconcile(self, agent: AgentSession, hello: pb.AgentHello, welcome: pb.AgentWelcome) -> None:
        """Decide about every run the agent says it holds, and about those it no longer mentions."""
        restated: set[bytes] = set()
        adopted: list[Run] = []
        for key in hello.held:
            run = self._adopt(agent, key)
            if run is None:
                welcome.drop.add(run_id=key.run_id, epoch=key.epoch)
                continue
            restated.add(key.run_id)
            if run.dispatch is None:
                adopted.append(run)
            if run.state == RunState.CANCELLING:
                agent.cancel(run)  # what is dropped ends in silence, and this end is waited for
        if adopted:
            self._dispatcher.log.record(agent, adopted)  # the rows of an earlier owner are about to go
        assigned = [*agent.held.values(), *self._book.orphans.get(agent.agent_id, ())]
        missing = [(run, run.epoch) for run in assigned if run.run_id not in restated]
        if missing:
            self._wait_for_reports(agent, missing)
        else:
            self._book.orphans.pop(agent.agent_id, None)

    def _adopt(self, agent: AgentSession, key: pb.RunKey) -> Run | None:
        """Let an agent go on with a run that it names; None when it must not."""
        run = self._book.runs.get(key.run_id)
        if run is None or not may_report(agent, run, key.epoch, self._succession):
            return None
        if not self._reporting.adopt(agent, run, key.epoch):
            return None
        self._metrics.adopted_runs += 1
        return run

    def _wait_for_reports(self, agent: AgentSession, missing: list[tuple[Run, int]]) -> None:
        # Their reports may be on the way: what the agent finished comes right behind its hello.
        agent.restating = [timer for timer in agent.restating if timer.pending]
        agent.restating.append(
            self._timers.after(
                RESTATE_SECONDS,
                lambda: self._not_restated(agent, missing),
                name=f"restating of agent '{agent.name}'",
            )
        )

    def _not_restated(self, agent: AgentSession, runs: list[tuple[Run, int]]) -> None:
        """Take back what an agent does not have, though it was sent."""
        # Not before: while there are orphans, what an earlier owner recorded of them stays.
        self._book.orphans.pop(agent.agent_id, None)
        unreceived = 0
        for run, epoch in runs:
            if run.epoch != epoch or run.state not in HELD:
                continue
            if run.agent is agent and run.state != RunState.RUNNING:
                unreceived += 1
                self._reporting.give_back(agent, run)
            elif run.agent in (None, agent):
                self._settling.apply(
                    run,
                    RunEvent.AGENT_LOST,
                    reason=StateReason.AGENT_LOST,
                    message=f"agent '{agent.name}' no longer knows the run",
                )
        if unreceived:
            self._pause(agent, unreceived)

    def _pause(self, agent: AgentSession, runs: int) -> None:
        """Send an agent nothing for a while: what it was sent last did not arrive."""
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(agent.unreceived, 16))
        agent.unreceived += 1
        if agent.paused:
            return
        agent.paused = True
        log.warning(
            "agent '%s' has not received %d runs that it was sent before its stream broke; "
            "it is sent nothing for %g s",
            agent.name,
            runs,
            pause,
            extra={"event": "agent_does_not_receive"},
        )
        self._timers.after(pause, lambda: self._resume(agent), name=f"pause of agent '{agent.name}'")

    def _resume(self, agent: AgentSession) -> None:
        agent.paused = False
        self._dispatcher.pump()
