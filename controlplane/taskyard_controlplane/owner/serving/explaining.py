"""Why runs wait: the facts, as the owner has them in this moment, for the rules of `domain.explaining`.

Reads what everybody else keeps, and changes nothing of it. What runs that are asked about together have in
common is in `Bystanders`. What only the database knows of a run is handed in by whoever asks (`RecordedRun`),
because the owner reads nothing for people.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

from taskyard_contract.clock import Clock
from taskyard_contract.states import FIRST_FINAL, RunState
from taskyard_controlplane.domain import wait_reasons
from taskyard_controlplane.domain.edges import EDGE_BYTES, Edge, pack_edges, split_edges
from taskyard_controlplane.domain.explaining import Standing, lack_of_agents, why_queued
from taskyard_controlplane.domain.matching import Need, has_task, matches
from taskyard_controlplane.domain.model import SESSION, Run
from taskyard_controlplane.domain.wait_reasons import MOST_NAMED, Explained, Reason, RunName
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.roster import Roster
from taskyard_controlplane.owner.queueing.standing import NOBODYS
from taskyard_controlplane.owner.rules.upstream import HOLD
from taskyard_controlplane.owner.serving.bystanders import Bystanders, of_one_program, view_of
from taskyard_controlplane.owner.shard.shard import Shard

RUNNING: Final = int(RunState.RUNNING)
DEEPEST: Final = 8
"""Runs of a chain that are gone through for the cause of a wait: further down it is hardly the same wait."""
MOST_LOOKED_AT: Final = 2_000
"""Runs inside a flow run that are looked at for one that is executed. The oldest are, mostly."""
MOST_EDGES: Final = 20_000
"""Edges that are looked at for one question, some 5 ms: a run that gathers a map has as many as the map."""
_STALLED: Final = "the database takes no commits at the moment, or does not answer"
_NOT_RECORDED: Final = "what was decided about it last is being recorded in the database"


class RecordedRun(NamedTuple):
    """What the database has of an open run that matters to its wait."""

    name: str
    state: int
    need: Need
    priority: int
    edges: bytes
    """As rows have them."""
    session_id: bytes | None


Recorded = Mapping[bytes, RecordedRun]


class Explaining:
    """Says of the runs of a shard why they wait."""

    def __init__(self, shard: Shard, clock: Clock) -> None:
        """Look at what the parts of `shard` know."""
        self.shard = shard
        self.clock = clock

    def unknown(self, run_ids: Iterable[bytes]) -> list[bytes]:
        """Return those of some runs whose rows are needed to explain them."""
        runs = self.shard.book.runs
        return [run_id for run_id in run_ids if (run := runs.get(run_id)) is None or _needs_edges(run)]

    def knows(self, run_id: bytes) -> bool:
        """Whether a run is in memory."""
        return run_id in self.shard.book.runs

    def explain(
        self, run_ids: Sequence[bytes], recorded: Recorded
    ) -> tuple[dict[bytes, Explained], list[bytes]]:
        """Say of some runs why they wait. Those that there are not have no state.

        Returns:
            The explanations, and further runs whose rows would tell more of what is waited for.
        """
        question = Question(self.shard, self.clock, recorded)
        return {run_id: question.of(run_id) for run_id in run_ids}, list(question.missing)

    def obstacle(self, run: Run) -> str:
        """Say in a few words what keeps a ready run from every agent; "" when it only waits for its turn.

        For listings of many runs: it costs nothing but a look at the agents.
        """
        need, roster = run.template.need, self.shard.roster
        if need.world is not None and _is_awaited(need, roster):
            return wait_reasons.world_away(need.queue, need.world).text
        agents = roster.agents.values()
        if any(matches(need, agent.offer) for agent in agents):
            return ""  # nearly always
        lack = lack_of_agents(need, [view_of(agent) for agent in agents])
        return "" if lack is None else lack.text


def _is_awaited(need: Need, roster: Roster) -> bool:
    """Say whether the program of a world has to come back first: not for agents that have the task."""
    return roster.worlds.is_awaited(need.world) and not any(
        has_task(need, agent.offer) for agent in roster.agents.values()
    )


def _needs_edges(run: Run) -> bool:
    return run.state == RunState.PENDING and run.upstream is None and run.upstream_left > 0


class Question:
    """Some runs that are asked about at the same time."""

    def __init__(self, shard: Shard, clock: Clock, recorded: Recorded) -> None:
        """Ask about runs of `shard`, with what is `recorded` of those that are not in memory."""
        self._shard = shard
        self._clock = clock
        self._recorded = recorded
        self._runs = shard.book.runs
        self._around = Bystanders(shard)
        self._edges_left = MOST_EDGES
        self.missing: dict[bytes, None] = {}
        """Runs that are waited for, and whose rows are not at hand, each once."""

    def of(self, run_id: bytes) -> Explained:
        """Say why a run waits."""
        run = self._runs.get(run_id)
        if run is None:
            return self._of_recorded(run_id)
        return Explained(_name(run), tuple(self._chain(run)))

    def _chain(self, run: Run) -> Iterator[Reason]:
        """Iterate over the reasons of a run, then those of the run it waits for, and so on."""
        seen: set[Run] = set()
        about = None
        while len(seen) < DEEPEST and run not in seen:
            seen.add(run)
            further: Run | None = None
            for reason in self._reasons(run):
                yield reason._replace(about=about)
                further = further or self._cause(reason)
            if further is None:
                return
            run, about = further, _name(further)

    def _cause(self, reason: Reason) -> Run | None:
        """Return the run whose wait is the cause of another one: the first that is not executed."""
        named = (self._runs.get(run.run_id) for run in reason.runs)
        return next((run for run in named if run is not None and not self._around.executes(run)), None)

    def _reasons(self, run: Run) -> tuple[Reason, ...]:
        if run.ended:
            return ()
        if run.template.executor == SESSION:
            return self._of_flow(run)
        reasons = _OF_STATE[run.state](self, run)
        if reasons and self._shard.committer.stalled:
            reasons = (wait_reasons.database(_STALLED), *reasons)
        return reasons

    # By state.

    def _of_flow(self, run: Run) -> tuple[Reason, ...]:
        session = self._shard.roster.session(run.session.session_id if run.session is not None else None)
        name = session.name if session is not None else ""
        if session is None or not session.connected:
            return (wait_reasons.program_away(name), *self._inside(run))
        if run.state == RunState.PENDING:
            return (wait_reasons.program_starts(name),)
        if run.state == RunState.AWAITING_RETRY:
            return (wait_reasons.retry_delay(run.attempt, None, 0),)
        if run.state == RunState.CANCELLING:
            return (wait_reasons.cancelling(""),)
        return self._inside(run)

    def _inside(self, flow: Run) -> tuple[Reason, ...]:
        """Return why a flow run does not get on: while nothing is executed of what is open inside it."""
        some = [run for run in self._shard.book.some_inside(flow, MOST_LOOKED_AT) if not run.ended]
        if flow.state != RUNNING or not some or any(map(self._around.executes, some)):
            return ()
        return (wait_reasons.runs_inside(self._shard.book.count_inside(flow), _names(some)),)

    def _of_pending(self, run: Run) -> tuple[Reason, ...]:
        left = run.upstream_left % HOLD
        if not left:
            return (wait_reasons.database(_NOT_RECORDED),)
        recorded = self._recorded.get(run.run_id)
        if recorded is None and _needs_edges(run):
            self.missing[run.run_id] = None
        edges = run.upstream if run.upstream is not None else recorded.edges if recorded else b""
        reason = self._upstream(left, edges)
        if len(edges) >= MOST_EDGES * EDGE_BYTES and not reason.executing:  # they were not all looked at
            reason = reason._replace(executing=self._around.own_executing(run))
        return (reason,)

    def _upstream(self, left: int, edges: bytes) -> Reason:
        """Return that runs are waited for; those that are not executed are named first."""
        executing, named, others = 0, list[RunName](), list[RunName]()
        for upstream_id, _ in self._some_of(edges):
            run = self._runs.get(upstream_id)
            if run is None:
                if len(others) < MOST_NAMED and self._shard.upstream.waits_for(upstream_id):
                    others.append(RunName(upstream_id))
            elif self._around.executes(run):
                executing += 1
                if len(others) < MOST_NAMED:
                    others.append(_name(run))
            elif not run.ended and len(named) < MOST_NAMED:
                named.append(_name(run))
        return wait_reasons.upstream(left, executing, [*named, *others])

    def _some_of(self, edges: bytes) -> list[Edge]:
        """Split edges, as many as may still be looked at for this question."""
        some = edges[: self._edges_left * EDGE_BYTES]
        self._edges_left -= len(some) // EDGE_BYTES
        return split_edges(some)

    def _of_ready(self, run: Run) -> tuple[Reason, ...]:
        need = run.template.need
        if need.world is not None and _is_awaited(need, self._shard.roster):
            return (wait_reasons.world_away(need.queue, need.world),)
        lack = self._around.lack(need)
        if not run.queued:  # so nobody looks for an agent yet
            reason = wait_reasons.database(_NOT_RECORDED)
            return (reason,) if lack is None else (lack, reason)
        if lack is not None:
            return (lack,)
        standing = Standing(
            need,
            run.template.priority,
            lambda: self._around.line_of(run),
            nested=bool(run.waited_for_by),
            share=self._shard.dispatcher.standing(run).share,
            declined_by=self._around.view(self._shard.dispatcher.declined.decliner_of(run), need),
        )
        return why_queued(standing, self._around.able(need))

    def _of_held(self, run: Run) -> tuple[Reason, ...]:
        agent = run.agent
        if agent is None:
            return (wait_reasons.agent_not_back(_last_agent(run)),)
        assert isinstance(agent, AgentSession)
        if not agent.connected:
            return (wait_reasons.agent_away(agent.name, has_it=True),)
        if self._around.is_being_read(run):
            return (wait_reasons.delivery(agent.name),)
        apart, room, crowded = agent.takes_apart(run.template), agent.slots, agent.nested_only
        if apart:
            room, crowded = agent.coroutines, agent.apart.nested_only
        free = sum(agent.takes_apart(held.template) is apart for held in agent.held.values()) <= room
        whose, executing = self._around.executed_by(agent, run)
        reason = wait_reasons.agent_has_it(
            agent.name, whose, executing or int(free), crowded=crowded, free=free, apart=apart
        )
        if agent.condition:
            return wait_reasons.agent_condition(agent.name, agent.condition), reason
        return (reason,)

    def _of_running(self, run: Run) -> tuple[Reason, ...]:
        agent = run.agent
        if agent is None:
            return (wait_reasons.agent_not_back(_last_agent(run)),)
        assert isinstance(agent, AgentSession)
        return () if agent.connected else (wait_reasons.agent_away(agent.name, has_it=True),)

    def _of_retry(self, run: Run) -> tuple[Reason, ...]:
        due = self._shard.settling.due_of(run)
        if due is None:
            return (wait_reasons.database(_NOT_RECORDED),)
        seconds = max(0.0, due - self._clock.monotonic())
        return (
            wait_reasons.retry_delay(run.attempt, seconds, self._clock.now_us() + round(seconds * 1_000_000)),
        )

    def _of_cache(self, run: Run) -> tuple[Reason, ...]:
        flight = self._shard.cache.flight(run.cache_key or "")
        leader = flight[0] if flight else run
        if leader is run:
            return (wait_reasons.database("the database is asked for its cache key"),)
        executing = self._around.executes(leader) and of_one_program(leader, run)
        return (wait_reasons.cache_leader(_name(leader), executing),)

    def _of_cancelling(self, run: Run) -> tuple[Reason, ...]:
        return (wait_reasons.cancelling(run.agent.name if run.agent is not None else ""),)

    def _of_recorded(self, run_id: bytes) -> Explained:
        """Say why a run waits that is only in the database, or not even there."""
        row = self._recorded.get(run_id)
        if row is None:
            if self._around.is_postponed(run_id):
                return Explained(RunName(run_id), (wait_reasons.overloaded(),))
            return Explained(RunName(run_id))
        name = RunName(run_id, row.name, row.state)
        ended = self._shard.book.recent.get(run_id)
        if ended is not None:  # since its row was read
            return Explained(name._replace(state=ended[0]))
        if row.state >= FIRST_FINAL:
            return Explained(name)
        some = self._some_of(row.edges)
        open_edges = [edge for edge in some if self._is_open(edge[0])]
        all_seen = len(some) * EDGE_BYTES == len(row.edges) and len(some) < MOST_EDGES
        if row.state == RunState.PENDING and (open_edges or not all_seen):
            reason = self._upstream(max(1, len(open_edges)), pack_edges(open_edges))
            cause = self._cause(reason)
            causes = self._chain(cause) if cause is not None else ()
            about = _name(cause) if cause is not None else None
            return Explained(name, (reason, *(each._replace(about=each.about or about) for each in causes)))
        session = self._shard.roster.session(row.session_id)
        share = session.share if session is not None else NOBODYS
        due = row.state == RunState.PENDING
        count = self._shard.backlog.beside(row.need, row.priority, share, due=due)
        waits = [wait_reasons.backlog(row.need.queue, row.priority, count)]
        lack = self._around.lack(row.need)
        return Explained(name, (*([lack] if lack is not None else ()), *waits))

    def _is_open(self, upstream_id: bytes) -> bool:
        run = self._runs.get(upstream_id)
        return not run.ended if run is not None else self._shard.upstream.waits_for(upstream_id)


_OF_STATE: Final = {
    int(RunState.PENDING): Question._of_pending,
    int(RunState.READY): Question._of_ready,
    int(RunState.ASSIGNED): Question._of_held,
    int(RunState.RUNNING): Question._of_running,
    int(RunState.AWAITING_RETRY): Question._of_retry,
    int(RunState.AWAITING_CACHE): Question._of_cache,
    int(RunState.CANCELLING): Question._of_cancelling,
}


def _name(run: Run) -> RunName:
    return RunName(run.run_id, run.shown_name, run.state)


def _names(runs: Iterable[Run]) -> list[RunName]:
    return [_name(run) for run in islice(runs, MOST_NAMED)]


def _last_agent(run: Run) -> str:
    return run.last_agent.agent_id if run.last_agent is not None else ""
