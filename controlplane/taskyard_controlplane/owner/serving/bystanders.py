"""What is around runs that wait: the agents, and whose runs are before them or executed meanwhile.

Made for one question about a few runs, within one moment of the event loop. All of it is looked at once, and
only if somebody asks: counting a long queue takes some milliseconds.
"""

from collections import Counter
from functools import cached_property
from typing import Final, NamedTuple

from taskyard_contract.states import RunState
from taskyard_controlplane.domain.explaining import AgentView, Line, lack_of_agents
from taskyard_controlplane.domain.matching import Need, matches
from taskyard_controlplane.domain.model import Holder, Run, Submitter
from taskyard_controlplane.domain.wait_reasons import Others, Reason
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.client_session import ClientSession
from taskyard_controlplane.owner.serving.line import ServedByAll, before, served_by_all
from taskyard_controlplane.owner.shard.shard import Shard

MOST_COUNTED: Final = 50_000
"""Runs that are looked at in queues for one question, some 5 ms."""
RUNNING: Final = int(RunState.RUNNING)


class Bystanders:
    """Everybody around the runs of a question."""

    def __init__(self, shard: Shard) -> None:
        """Look at what is in `shard` now."""
        self._roster = shard.roster
        self._dispatcher = shard.dispatcher
        self._delivery = shard.delivery
        self._by_need: dict[Need, _Able] = {}
        self._apart: dict[Holder, AgentView] = {}
        """Agents with the room that they have for coroutines beside their slots."""
        self._lines: dict[tuple[object, ...], Line] = {}
        self._to_count = MOST_COUNTED

    @cached_property
    def _views(self) -> dict[Holder, AgentView]:
        return {agent: view_of(agent) for agent in self._roster.agents.values()}

    def view(self, agent: Holder | None, need: Need) -> AgentView | None:
        """Return an agent whose lease has not lapsed, as the rules see it for what has a need."""
        known = self._views.get(agent) if agent is not None else None
        if known is None or not (isinstance(agent, AgentSession) and agent.meets_apart(need)):
            return known
        if agent not in self._apart:
            self._apart[agent] = known._replace(
                nested_only=agent.apart.nested_only,
                nested_only_shares=agent.apart.nested_only_shares,
                credit=agent.credit_apart,
                apart=True,
            )
        return self._apart[agent]

    def lack(self, need: Need) -> Reason | None:
        """Return what no agent has that runs with this need wait for."""
        return None if self._able(need).agents else lack_of_agents(need, list(self._views.values()))

    def able(self, need: Need) -> list[AgentView]:
        """Return the agents that could execute runs with this need."""
        views = (self.view(agent, need) for agent in self._able(need).agents)
        return [view for view in views if view is not None]

    def _able(self, need: Need) -> "_Able":
        found = self._by_need.get(need)
        if found is None:
            agents = [agent for agent in self._roster.agents.values() if matches(need, agent.offer)]
            executed = Counter(
                (run.flow, run.session)
                for agent in agents
                for run in self._executed_of[agent]
                if agent.takes_apart(run.template) is agent.meets_apart(need)
            )
            served = served_by_all(self._dispatcher, need, agents)
            found = self._by_need[need] = _Able(agents, executed, served)
        return found

    @cached_property
    def _postponing(self) -> list[ClientSession]:
        return [session for session in self._roster.sessions.values() if session.postponed]

    def is_postponed(self, run_id: bytes) -> bool:
        """Whether some program was asked to submit a run again later."""
        return any(run_id in session.postponed for session in self._postponing)

    @cached_property
    def _being_read(self) -> set[Run]:
        return set(self._delivery.waiting_runs())

    def is_being_read(self, run: Run) -> bool:
        """Whether what a run carries is still being read for its agent."""
        return run in self._being_read

    @cached_property
    def _executed_of(self) -> dict[Holder, list[Run]]:
        return {agent: executed_by(agent) for agent in self._roster.agents.values()}

    @cached_property
    def _executing(self) -> set[Run]:
        return {run for runs in self._executed_of.values() for run in runs}

    @cached_property
    def _executed(self) -> "_Counted":
        return Counter((run.flow, run.session) for run in self._executing)

    def executes(self, run: Run) -> bool:
        """Whether somebody executes a run."""
        return run.state == RUNNING or run in self._executing

    def executed_by(self, agent: AgentSession, waiting: Run) -> tuple[tuple[Others, ...], int]:
        """Return whose runs an agent executes where a run waits for room, and how many are of its program."""
        apart = agent.takes_apart(waiting.template)
        executed = Counter(
            (run.flow, run.session)
            for run in self._executed_of.get(agent, ())
            if agent.takes_apart(run.template) is apart
        )
        whose = self._told(waiting, executed)
        return whose, sum(others.runs for others in whose if others.own)

    def line_of(self, run: Run) -> Line:
        """Return who is in the way of a ready run.

        Counted for each, until much has been counted for this question; from then on those that stand in one
        place are told what was counted for another one there.
        """
        template = run.template
        place = (template.need, template.priority, run.session, run.flow, run.waited_for_by)
        known = self._lines.get(place)
        if known is not None and self._to_count <= 0:
            return known
        line = self._lines[place] = self._counted(run)
        return line

    def _counted(self, run: Run) -> Line:
        able = self._able(run.template.need)
        ahead: Counter[Others] = Counter()
        for one in before(self._dispatcher, run, able.served):
            others = self._others(one.one.flow, one.one.session, run)
            ahead[others._replace(takes_turns=one.takes_turns)] += one.runs
        self._to_count -= sum(ahead.values())
        return Line(_most_first(ahead), self._told(run, able.executed), self.own_executing(run))

    def own_executing(self, run: Run) -> int:
        """Return how many runs of the same program are executed, wherever."""
        executed = self._executed.items()
        return sum(count for (flow, session), count in executed if _is_own(flow, session, run))

    def _told(self, waiting: Run, counted: "_Counted") -> tuple[Others, ...]:
        """Return whose some runs are, the most first."""
        told: Counter[Others] = Counter()
        for (flow, session), count in counted.items():
            told[self._others(flow, session, waiting)] += count
        return _most_first(told)

    def _others(self, flow: Run | None, session: Submitter | None, waiting: Run) -> Others:
        own = _is_own(flow, session, waiting)
        if flow is not None:
            return Others(0, flow.shown_name, flow.run_id, own)
        known = self._roster.session(session.session_id if session is not None else None)
        return Others(0, known.name if known is not None else "", own=own)


_Counted = Counter[tuple[Run | None, Submitter | None]]
"""Runs by flow run and session."""


class _Able(NamedTuple):
    """The agents that could execute runs with one need."""

    agents: list[AgentSession]
    executed: _Counted
    """What they execute."""
    served: ServedByAll
    """What all of them are fed from."""


def _most_first(counted: Counter[Others]) -> tuple[Others, ...]:
    return tuple(others._replace(runs=count) for others, count in counted.most_common())


def of_one_program(run: Run, other: Run) -> bool:
    """Whether two runs are of the same program."""
    return _is_own(run.flow, run.session, other)


def _is_own(flow: Run | None, session: Submitter | None, other: Run) -> bool:
    # What task runs call belongs to sessions of their workers, and to the same flow run.
    return (session is not None and session is other.session) or (flow is not None and flow is other.flow)


def executed_by(agent: AgentSession) -> list[Run]:
    """Return the runs that an agent executes.

    Agents may leave out that runs have started, and some never say it. Of those it is taken that they execute
    what they have had for longest.
    """
    apart: list[Run] = []
    others: list[Run] = []
    for run in agent.held.values():
        (apart if agent.takes_apart(run.template) else others).append(run)
    return [*_executed(others, agent.slots), *_executed(apart, agent.coroutines)]


def _executed(runs: list[Run], room: int) -> list[Run]:
    return [run for run in runs if run.state == RUNNING] or runs[:room]


def view_of(agent: AgentSession) -> AgentView:
    """Return an agent as the rules see it."""
    return AgentView(
        agent.name,
        agent.offer,
        agent.connected,
        agent.draining,
        agent.condition,
        agent.away,
        agent.paused,
        agent.nested_only,
        agent.nested_only_shares,
        agent.credit,
    )
