"""Laws of data locality: nobody is idle, and nothing is overtaken, for longer than the bounds say."""

import asyncio
from collections.abc import Callable
from itertools import count
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import common_pb2
from taskyard_contract.states import RunState
from taskyard_controlplane.domain.machine import restore
from taskyard_controlplane.domain.model import Run, Template
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.kept_values import KeptValues
from taskyard_controlplane.owner.queueing.locality.delayed import LONGEST_WAIT, MOST_DELAYED, patience_for
from taskyard_controlplane.owner.queueing.locality.large_values import large_values
from taskyard_controlplane.owner.queueing.locality.placement import Placement
from taskyard_controlplane.owner.queueing.matchmaking import Matchmaking
from taskyard_controlplane.owner.queueing.standing import standing_of
from taskyard_controlplane.owner.timers import Timers

MB = 1_000_000
AGENTS = 4
VALUES = 8
SIZES = (1, 20, 150, 900)
"""Of values, in MB."""
EXACT = 1e-5
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 8), st.sampled_from([1, 1, 2, 3, 5, 8, 90])),
        st.tuples(st.just("end"), st.integers(0, AGENTS - 1), st.integers(1, 4)),
        st.tuples(st.just("wait"), st.sampled_from([1, 5, 15, 60, 400]), st.just(0)),
        st.tuples(st.just("cancel"), st.integers(0, 99), st.just(0)),
        st.tuples(st.just("leave"), st.integers(0, AGENTS - 1), st.just(0)),
    ),
    min_size=10,
    max_size=60,
)


class Loop:
    """Stands for an event loop: the test looks for itself when something is due."""

    def call_later(self, *_: object) -> Any:
        return self

    def cancel(self) -> None: ...


class Cluster:
    """Ready runs, agents that execute them, and the time."""

    def __init__(self, keeps: list[int | None], lengths: list[float]) -> None:
        self.seconds = 100.0
        self.timers = Timers(cast(asyncio.AbstractEventLoop, Loop()), cast(Any, self))
        self.ready, self.kept = Matchmaking(), KeptValues()
        self.placement = Placement(
            self.kept, self.ready, lambda run: standing_of(run, {}), self.timers, self.pump
        )
        self.runs: list[Run] = []
        self.came: dict[int, float] = {}
        """When a run was first seen among those that wait for an agent."""
        self.idle_since: dict[AgentSession, float] = {}
        self.templates = [Template(number, b"", b"") for number in range(len(lengths))]
        for template, ms in zip(self.templates, lengths, strict=True):
            template.mean_ms = ms
        self.agents = [self.join(number, each) for number, each in enumerate(keeps)]
        self.started: list[Run] = []
        self._seq = count()

    def monotonic(self) -> float:
        return self.seconds

    def join(self, number: int, keeps: int | None) -> AgentSession:
        agent = AgentSession(
            ap.AgentHello(agent_id=str(number), queues=["default"], slots=1 + number % 2), 0, 0
        )
        agent.attach(lambda: None, lambda error: None)
        agent.granted = 2 * agent.slots
        self.ready.serve(agent)
        if keeps is not None:
            self.kept.said(agent, keeps * MB)
            made = [blob(each) for each in range(VALUES) if each % AGENTS == number]
            self.kept.note(agent, made)
        return agent

    def put(self, value: int, runs: int) -> None:
        """Queue runs that read a value; the last one stands for none."""
        payload = common_pb2.Payload(data=b"call", values=[blob(value)])
        for _ in range(runs):
            seq = next(self._seq)
            template = self.templates[seq % len(self.templates)]
            run = Run(seq, seq.to_bytes(16, "big"), template, RunState.READY, None, None, None, 0, 0)
            run.args_blob = payload.SerializeToString() if value < VALUES else None
            run.queued = True
            self.runs.append(run)
            self.ready.append(run)

    def end(self, number: int, runs: int) -> None:
        """Have an agent end some of what it has."""
        agent = self.agents[number]
        for run_id in list(agent.held)[:runs]:
            restore(agent.held.pop(run_id), RunState.COMPLETED)
            agent.granted += 1

    def cancel(self, number: int, _: int) -> None:
        waiting = [run for run in self.runs if run.state == RunState.READY]
        if waiting:
            restore(waiting[number % len(waiting)], RunState.CANCELLED)

    def leave(self, number: int, _: int) -> None:
        """Have an agent go, with what it has, and come back as another process."""
        agent = self.agents[number]
        agent.detach()
        self.end(number, len(agent.held))
        self.ready.leave(agent)
        self.placement.leave(agent)
        self.idle_since.pop(agent, None)
        self.agents[number] = self.join(number, 100)

    def wait(self, ms: int, _: int) -> None:
        """Let time pass, and happen what is due."""
        until = self.seconds + ms / 1_000
        while (due := self._next_due()) is not None and due <= until:
            self.seconds = max(self.seconds, due)
            self.timers.fire()
            self.check()
        self.seconds = until
        self.check()

    def _next_due(self) -> float | None:
        return min((due for due, _, timer in self.timers._heap if timer.pending), default=None)

    def pump(self) -> None:
        """As the dispatcher does."""
        hungry = [agent for agent in self.agents if agent.credit > 0]
        while hungry:
            hungry = [agent for agent in hungry if self._feed(agent)]
        self.placement.arm()

    def _feed(self, agent: AgentSession) -> bool:
        fed = False
        for whose, runs in self.placement.next(agent, min(agent.credit, 4)):
            assert whose.credit >= len(runs), "nobody gets more than it takes"
            for run in runs:
                assert run.state == RunState.READY
                assert not run.queued
                restore(run, RunState.ASSIGNED)
                whose.held[run.run_id] = run
                self.started.append(run)
            whose.assigned += len(runs)
            self.kept.note(whose, [blob_named(value) for run in runs for value in large_values(run)])
            fed = fed or whose is agent
            self.idle_since.pop(whose, None)
        self.placement.assigned(agent, apart=False)
        return fed and agent.credit > 0

    def check(self) -> None:
        """Look at who waits for what, after a round."""
        delayed = self.placement.delayed.waiting
        assert len(delayed) <= MOST_DELAYED
        here = {each.run.seq for each in delayed}
        self.came = {seq: self.came.get(seq, self.seconds) for seq in here}
        hungry = [agent for agent in self.agents if agent.credit > 0]
        ready = [run for run in self.runs if run.state == RunState.READY]
        for agent in hungry:
            assert {run.seq for run in ready} == here, "who has room leaves nothing else behind"
            if not here:
                continue
            idle = self.seconds - self.idle_since.setdefault(agent, self.seconds)
            for each in delayed:
                assert idle <= patience_for(sum(size for _, size in large_values(each.run))) + EXACT
                assert self.seconds - self.came[each.run.seq] <= LONGEST_WAIT + EXACT
                assert agent not in each.wanted
        for agent in self.agents:
            if not here or agent.credit <= 0:
                self.idle_since.pop(agent, None)


def blob(number: int) -> common_pb2.BlobRef:
    return common_pb2.BlobRef(name=f"b3-{number}", size=SIZES[number % len(SIZES)] * MB)


def blob_named(value: tuple[str, int]) -> common_pb2.BlobRef:
    return common_pb2.BlobRef(name=value[0], size=value[1])


keeps = st.lists(st.sampled_from([2_000, 2_000, 2_000, 30, 0, None]), min_size=AGENTS, max_size=AGENTS)
lengths = st.lists(st.sampled_from([0.0, 0.3, 5.0, 15.0, 70.0, 2_000.0]), min_size=1, max_size=3)


@given(steps, keeps, lengths)
def test_nobody_is_idle_or_overtaken_for_longer_than_the_bounds(
    history: list[tuple[str, int, int]], keeps: list[int | None], lengths: list[float]
) -> None:
    it = Cluster(keeps, lengths)
    for name, *arguments in history:
        step: Callable[[int, int], None] = getattr(it, name)
        step(*arguments)
        it.pump()
        it.check()
    for _ in range(len(it.runs) + 1):
        for number in range(AGENTS):
            it.end(number, 100)
        it.pump()
        it.wait(250, 0)
    assert not any(run.state == RunState.READY for run in it.runs), "everything starts"
    assert len({run.seq for run in it.started}) == len(it.started), "once"
    assert not it.placement.delayed.waiting
    assert not any(run.queued for run in it.started)


@given(steps, lengths)
def test_where_all_see_the_store_runs_start_in_their_order(
    history: list[tuple[str, int, int]], lengths: list[float]
) -> None:
    it = Cluster([0] * AGENTS, lengths)
    for name, *arguments in history:
        if name != "leave":
            getattr(it, name)(*arguments)
            it.pump()
            assert not it.placement.delayed.waiting
    assert [run.seq for run in it.started] == sorted(run.seq for run in it.started)
