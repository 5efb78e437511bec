"""An owner among clients and agents that do anything in any order, while it and its database fail.

Nothing here knows how the owner works: it is asked for what was promised to clients (every acknowledged run
ends once, and they are told what is recorded), to agents (credit, fencing) and to users (order, inputs).
"""

import asyncio
import os
from collections import Counter
from collections.abc import Coroutine
from itertools import count
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.depth import examples
from support.failing_properties import run_on
from support.owner_edges import ModelEdges
from support.owner_harness import World
from support.owner_model import (
    FAILED,
    Faults,
    InlineExecutor,
    ModelAgent,
    ModelClient,
    Spec,
    check_dispatches,
    check_nothing_left,
    check_queues,
    result_of,
)

from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_api.v1 import states_pb2
from taskyard_api.v1 import template_pb2 as tp
from taskyard_contract.states import FIRST_FINAL, FlowEvent, ReportKind, RunKind, RunState, StateReason
from taskyard_controlplane.domain.memory import MemoryLimits
from taskyard_controlplane.owner.journal import committer
from taskyard_controlplane.storage import create_reader
from taskyard_controlplane.storage.interface import StoredRun

pytestmark = pytest.mark.timeout(480)
EXAMPLES = int(os.environ.get("OWNER_MODEL_EXAMPLES", examples(150)))
STEPS = int(os.environ.get("OWNER_MODEL_STEPS", "40"))
S, HELD = RunState, (RunState.ASSIGNED, RunState.RUNNING, RunState.CANCELLING)
PLACES = [("default", 0), ("default", 0), ("default", 5), ("other", 0)]
LIVE = (S.READY, S.ASSIGNED, S.RUNNING, S.AWAITING_RETRY, S.CANCELLING)
WINDOW, MOST_OPEN, MEMORY = 4, 5, MemoryLimits(payload=130)  # the arguments of two runs
PICK, _databases = st.integers(0, 50), count()


class OwnerModel(RuleBasedStateMachine):
    """The model: what was asked for, and what peers were told."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.url = f"sqlite://?name=owner-model-{next(_databases)}"
        self.reader = create_reader(self.url)
        self.specs: dict[bytes, Spec] = {}
        self.flow_retries: dict[bytes, int] = {}
        self.failures: set[tuple[bytes, int]] = set()
        self.epochs, self.first_epochs = dict[bytes, int](), dict[bytes, int]()
        self.failed_at: dict[bytes, list[float]] = {}
        self.edges = ModelEdges(self.specs, self.flow_retries)
        self.keyed: set[bytes] = set()
        """Runs whose workers name no cache key (any more)."""
        self.cancelled: set[bytes] = set()
        self.clients = [ModelClient(bytes([n]) * 16) for n in (1, 2)]
        self.agents = [ModelAgent("a", ("default", "other")), ModelAgent("b", ("default",))]
        self.checked: set[tuple[int, bytes]] = set()
        """What clients were told and was compared with what is recorded."""
        self.faults = Faults()
        self.seconds = 1_000.0

    # The world.

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return run_on(self.loop, work)

    @initialize(fast=st.booleans())
    def start(self, fast: bool) -> None:
        self.fast = fast
        self.do(self._start())
        self.do(self._bring_back(2))
        self.reader.run(b"")  # from now on a connection of the reader keeps the database alive

    async def _start(self) -> None:
        self.writer = InlineExecutor()
        self.world = World(self.url, WINDOW, MOST_OPEN, writer=self.writer, memory=MEMORY)
        self.world.clock.seconds = self.seconds
        self.world.store.small_commits_are_fast = self.fast
        self.tasks: list[asyncio.Task[None]] = []
        self.faults.install(self.world.store)
        await self.world.owner.start()
        await self.world.settle()

    def finish_step(self, settled: bool) -> None:
        """Let what follows happen, or leave it for later."""
        if settled:
            self.do(self.settle())

    async def settle(self) -> None:
        await self.release()
        await self.world.settle()
        await self.receive()

    async def release(self) -> None:
        """Let the database do what it was asked for."""
        self.writer.release()
        self.world.store.small_commits_are_fast = self.fast
        await asyncio.gather(*self.tasks)
        self.tasks.clear()

    async def receive(self) -> None:
        for client in self.clients:
            client.receive()
            self.check_durable(client)
            if client.peer is not None and client.peer.closed is not None:
                client.disconnect()
        for agent in self.agents:
            for run_id in agent.receive():
                self.check_assigned(agent, run_id)
            self.check_acknowledged(agent)
            if agent.peer is not None and agent.peer.closed is not None:
                agent.disconnect()

    def rows(self, run_ids: Any = None) -> dict[bytes, StoredRun]:
        wanted = self.specs if run_ids is None else run_ids
        listed = [self.reader.run(run_id) for run_id in wanted]
        return {entry.run.run_id: entry.run for entry in listed if entry is not None}

    # What clients do.

    def client(self, pick: int) -> ModelClient:
        return self.clients[pick % 2]

    @rule(pick=PICK, settled=st.booleans())
    def connect_client(self, pick: int, settled: bool) -> None:
        client = self.client(pick)
        if not client.gone:
            self.do(self.release())
            self.do(client.connect(self.world))
            self.finish_step(settled)

    @rule(pick=PICK, lose=st.booleans())
    def disconnect_client(self, pick: int, lose: bool) -> None:
        if not lose:
            self.do(self.receive())
        self.client(pick).disconnect()

    @rule(
        pick=PICK, size=st.integers(1, 8), upstream=st.lists(PICK, max_size=3), kind=st.integers(1, 8),
        key=st.sampled_from(["", "", "k", "l"]), retries=st.integers(0, 2), delay=st.sampled_from([0, 3]),
        flow=PICK, place=st.sampled_from(PLACES), lifetime=st.sampled_from([0, 0, 2]),
        refresh=st.sampled_from([False, False, True]), settled=st.booleans(),
        ahead=st.lists(st.integers(1, 12), max_size=2, unique=True), outlives=st.sampled_from([0, 0, 1]),
    )  # fmt: skip
    def submit(
        self, pick: int, size: int, upstream: list[int], kind: int, key: str, retries: int, delay: int,
        flow: int, place: tuple[str, int], lifetime: int, refresh: bool, settled: bool, ahead: list[int],
        outlives: int,
    ) -> None:  # fmt: skip
        client = self.client(pick)
        if client.gone:
            return
        known, flows = list(self.specs), [one for one in client.flows if one not in client.decided]
        inside = flows[flow % len(flows)] if flows and flow % 2 and not outlives else b""
        wanted = [(position, known[at % len(known)]) for position, at in enumerate(upstream) if known]
        ids = self.new_ids(size)
        later = [self.new_ids(size + number)[-1] for number in ahead]
        edges = self.edges.drawn(ids, kind, wanted, later)
        for position, run_id in enumerate(ids):
            above = [upstream_id for at, upstream_id, _ in edges if at == position]
            plain, owner = not edges and not key, b"" if outlives else client.session_id
            self.specs[run_id] = Spec(above, key, inside, retries, delay, *place, plain, owner)
        client.unowned.update(ids if outlives else ())
        group = sp.RunGroup(
            flow_run_id=inside, run_ids=ids, args=ids, cache_keys=[key] * size if key else [],
            upstream_positions=[edge[0] for edge in edges], upstream_ids=[edge[1] for edge in edges],
            upstream_kinds=[cast(Any, edge[2]) for edge in edges], outlives_session=bool(outlives),
        )  # fmt: skip
        template = tp.RunTemplate(
            kind=states_pb2.RUN_KIND_TASK, name="task", encoding="python/pickle5",
            queue=place[0], priority=place[1],
            retry=tp.RetryPolicy(max_retries=retries, delays_ms=[delay * 1000]),
            cache_expiration_ms=lifetime * 1000, refresh_cache=refresh,
        )  # fmt: skip
        self.do(self._submit(client, group, template))
        self.finish_step(settled)

    async def _submit(self, client: ModelClient, group: sp.RunGroup, template: tp.RunTemplate) -> None:
        sending = self.loop.create_task(client.submit(group, template))
        done, _ = await asyncio.wait([sending], timeout=0.05 if self.writer.held else None)
        if not done:
            await self.release()  # the owner looks the template up, which an earlier one was sent
        await sending

    def new_ids(self, size: int) -> list[bytes]:
        first = len(self.specs)
        return [(first + number << 80 | 7 << 76 | 0b10 << 62).to_bytes(16) for number in range(1, size + 1)]

    @rule(pick=PICK, retries=st.integers(0, 1), settled=st.booleans())
    def start_flow(self, pick: int, retries: int, settled: bool) -> None:
        client = self.client(pick)
        if client.gone:
            return
        [flow] = self.new_ids(1)
        self.specs[flow], self.flow_retries[flow] = Spec([], "", b"", retries), retries
        client.flows.add(flow)
        retry = tp.RetryPolicy(max_retries=retries, delays_ms=[1000])
        template = tp.RunTemplate(kind=states_pb2.RUN_KIND_FLOW, name="flow", retry=retry)
        self.do(self._submit(client, sp.RunGroup(run_ids=[flow], args=[b""]), template))
        self.do(self.release())  # the owner may have to look the flow run up
        self.do(client.report_flow(flow, FlowEvent.STARTED))
        self.finish_step(settled)

    @rule(pick=PICK, which=PICK, event=st.sampled_from([2, 3, 3, 4, 5]), settled=st.booleans())
    def report_flow(self, pick: int, which: int, event: int, settled: bool) -> None:
        client = self.client(pick)
        flows = [
            flow for flow in sorted(client.flows) if flow not in client.decided and client.answered(flow)
        ]
        if not flows or client.gone:
            return
        flow = flows[which % len(flows)]
        if flow in client.awaiting_retry:
            event = FlowEvent.STARTED
        if event == FlowEvent.FAILED:
            self.failures.add((flow, len(self.failures)))
        self.do(self.release())  # the owner may have to look the flow run up
        self.do(client.report_flow(flow, FlowEvent(event)))
        self.finish_step(settled)

    @rule(pick=PICK, which=PICK, how=st.sampled_from(["cancel", "withdraw", "owner"]), settled=st.booleans())
    def cancel(self, pick: int, which: int, how: str, settled: bool) -> None:
        client, known = self.client(pick), list(self.specs)
        if not known or client.peer is None:
            return
        run_id = known[which % len(known)]
        if how == "owner" and run_id in client.durable:
            self.faults.clear()
            self.do(self.release())
            state = self.do(self.world.owner.cancel(run_id))
            if state in (S.CANCELLED, S.CANCELLING):
                self.cancelled.add(run_id)
        elif how != "owner":
            self.tasks.append(self.loop.create_task(client.send(**{how: [run_id]})))
            self.do(asyncio.sleep(0))
        self.finish_step(settled)

    @precondition(lambda self: len(self.specs) > 10)
    @rule(pick=PICK)
    def goodbye(self, pick: int) -> None:
        client = self.client(pick)
        if client.peer is not None and not client.unacknowledged():
            self.do(client.send(goodbye=True))
            self.do(self.receive())
            client.gone = True
            client.disconnect()

    # What agents do.

    @rule(pick=PICK, credit=st.integers(0, 4), settled=st.booleans())
    def connect_agent(self, pick: int, credit: int, settled: bool) -> None:
        self.agents[pick % 2].connect(self.world, credit)
        self.finish_step(settled)

    @rule(pick=PICK, how=st.sampled_from(["disconnect", "die"]))
    def lose_agent(self, pick: int, how: str) -> None:
        getattr(self.agents[pick % 2], how)()

    @precondition(lambda self: len(self.specs) > 10)
    @rule(pick=PICK)
    def drain_agent(self, pick: int) -> None:
        self.agents[pick % 2].drain()

    @rule(pick=PICK, credit=st.integers(1, 5))
    def grant(self, pick: int, credit: int) -> None:
        self.agents[pick % 2].grant(credit)
        self.do(self.receive())

    def work(self, pick: int, which: int) -> tuple[ModelAgent, bytes]:
        agent = self.agents[pick % 2]
        held = list(agent.working)
        return agent, held[which % len(held)] if held else b""

    @rule(
        pick=PICK, which=PICK, settled=st.booleans(),
        how=st.sampled_from(["ok", "ok", "ok", "failed", "final", "key", "lost", "given_back", "started"]),
    )  # fmt: skip
    def report(self, pick: int, which: int, how: str, settled: bool) -> None:
        agent, run_id = self.work(pick, which)
        if not run_id:
            return
        epoch = agent.working[run_id]
        if how == "ok":
            agent.report(run_id, epoch)
        elif how in ("failed", "final"):
            self.failures.add((run_id, epoch))
            self.failed_at.setdefault(run_id, []).append(self.world.clock.seconds)
            agent.report(run_id, epoch, not_retriable=how == "final", **FAILED)
        elif how == "key":
            self.report_key(agent, run_id, epoch)
        elif how == "started":
            agent.send(started=[{"key": {"run_id": run_id, "epoch": epoch}}])
        else:
            agent.give_up(run_id, how)
        self.finish_step(settled)

    def report_key(self, agent: ModelAgent, run_id: bytes, epoch: int) -> None:
        assert agent.peer is not None or agent.working
        if not self.specs[run_id].cache_key and run_id not in self.keyed:
            self.keyed.add(run_id)
            agent.report(run_id, epoch, kind=int(ReportKind.CACHE_KEY), cache_key="worker")

    @rule(pick=PICK, which=PICK)
    def report_stale(self, pick: int, which: int) -> None:
        agent = self.agents[pick % 2]
        old = [entry for entry in agent.seen if agent.working.get(entry[0]) != entry[1]]
        if old and agent.peer is not None:
            run_id, epoch = old[which % len(old)]
            agent.report(run_id, epoch)

    @rule(pick=PICK)
    def obey(self, pick: int) -> None:
        agent = self.agents[pick % 2]
        for run_id in agent.cancelled():
            agent.give_up(run_id, "cancelled")

    # What happens to everybody.

    @rule(seconds=st.sampled_from([1, 1, 3, 12]), alive=st.booleans())
    def pass_time(self, seconds: int, alive: bool) -> None:
        self.do(self._pass_time(seconds, alive))

    async def _pass_time(self, seconds: int, alive: bool) -> None:
        await self.release()
        for _ in range(seconds):
            for agent in self.agents:
                if alive and agent.peer is not None:
                    agent.peer.heartbeat()
            await self.world.advance(1)
            await self.receive()
        self.seconds = self.world.clock.seconds

    @rule(faults=st.lists(st.sampled_from(["before", "after", "full"]), min_size=1, max_size=3))
    def plan_faults(self, faults: list[str]) -> None:
        self.faults.planned = faults

    @rule(reads=st.integers(1, 3))
    def plan_failing_reads(self, reads: int) -> None:
        self.faults.reads = reads

    @rule()
    def slow_database(self) -> None:
        """Let nothing be written or read until somebody has to wait for it."""
        self.writer.held = True
        self.world.store.small_commits_are_fast = False

    @precondition(lambda self: len(self.specs) > 4)
    @rule(credit=st.integers(-1, 3), how=st.sampled_from(["kill", "kill", "stop"]))
    def replace_owner(self, credit: int, how: str) -> None:
        """Lose the owner as a kill would, or stop it, and let another one take over."""
        self.do(self._kill() if how == "kill" else self._stop())
        if credit >= 0:
            self.do(self._bring_back(credit))

    def lose_streams(self) -> None:
        """Lose every stream with what was on it."""
        for client in self.clients:
            client.peer = None
        for agent in self.agents:
            agent.peer = None

    async def _kill(self) -> None:
        self.lose_streams()
        self.faults.clear()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.world.owner.abandon()
        self.world.store.close()
        for _ in range(5):
            await asyncio.sleep(0)
        await self._start_again()

    async def _stop(self) -> None:
        self.faults.clear()
        await self.release()
        taken = set(self.world.runs)
        await self.world.owner.stop()
        self.lose_streams()
        assert taken <= self.rows(taken).keys(), "stopped without writing what it took"
        await self._start_again()

    async def _start_again(self) -> None:
        self.keyed.update(self.specs)
        self.seconds += 1
        await self._start()

    # What must hold at any time.

    def check_assigned(self, agent: ModelAgent, run_id: bytes) -> None:
        spec, epoch = self.specs[run_id], agent.working[run_id]
        assert epoch > self.epochs.get(run_id, 0), "an epoch was used twice"
        assert spec.queue in agent.queues, "assigned from a queue the agent does not serve"
        self.epochs[run_id] = epoch
        self.first_epochs.setdefault(run_id, epoch)
        self.check_attempt(agent, run_id)
        rows = self.rows(spec.upstream)
        expected = {
            upstream_id: result or sp.RunOutcome.FromString(rows[upstream_id].outcome or b"").result.data
            for upstream_id, result in self.edges.check_begun(run_id, rows).items()
        }
        assert agent.peer is not None
        assert agent.peer.inputs_of(run_id) == expected

    def check_attempt(self, agent: ModelAgent, run_id: bytes) -> None:
        assert agent.peer is not None
        body, position = agent.peer.bodies[run_id]
        assert body.args[position] == run_id, "executed with the arguments of another run"
        attempt = max([extra.attempt for extra in body.extras if extra.position == position], default=1)
        failed_at = self.failed_at.get(run_id, [])
        assert attempt <= len(failed_at) + 1, "an attempt nobody asked for"
        if attempt > 1:
            due = failed_at[attempt - 2] + self.specs[run_id].delay
            assert self.world.clock.seconds >= due, "retried too early"

    def check_durable(self, client: ModelClient) -> None:
        """Compare what a client was told just now with what is recorded at this moment."""
        promised = {(0, run_id) for run_id in client.durable - client.refused.keys()}
        promised |= {(state, run_id) for run_id, state in (client.told | client.decided).items()}
        new = promised - self.checked
        self.checked |= new
        rows = self.rows({run_id for _, run_id in new}) if new else {}
        for state, run_id in new:
            assert run_id in rows, "told before it was recorded"
            assert not state or rows[run_id].state == state, "told of an end before it was recorded"

    def check_acknowledged(self, agent: ModelAgent) -> None:
        """A report whose result counts is acknowledged after it was recorded."""
        results, agent.acknowledged = agent.acknowledged, []
        for run_id, epoch in results:
            run = self.world.runs.get(run_id)
            if run is None or (run.state, run.epoch, run.reason) != (S.COMPLETED, epoch, 0):
                continue
            assert self.rows([run_id])[run_id].state == S.COMPLETED, "acknowledged before it was recorded"

    @invariant()
    def nobody_shares_the_lead_of_a_cache_key(self) -> None:
        live = Counter(
            run.cache_key
            for run in self.world.runs.values()
            if run.cache_key in ("k", "l") and run.state in LIVE and not run.template.refresh_cache
        )
        assert all(number == 1 for number in live.values()), live

    @invariant()
    def what_agents_hold_is_held_once(self) -> None:
        assert not self.world.failed, self.world.failed
        for agent in self.world.owner.agents:
            for run_id, run in agent.held.items():
                assert run.agent is agent, "held by two"
                assert run.run_id == run_id
                assert run.state in HELD, "held without being executed"

    @invariant()
    def what_could_start_waits_in_its_queue(self) -> None:
        check_queues(self.world.shard)

    @invariant()
    def recorded_dispatches_know_what_is_open(self) -> None:
        check_dispatches(self.world.shard)

    @invariant()
    def only_those_who_are_there_take_part(self) -> None:
        shard = self.world.shard
        assert Counter(shard.dispatcher.agents) == Counter(self.world.owner.agents)

    @invariant()
    def what_is_waited_for_if_it_comes_has_come(self) -> None:
        self.edges.look(self.rows)

    # The end.

    def teardown(self) -> None:
        try:
            if hasattr(self, "world"):
                self.faults.clear()
                self.do(self._finish())
        finally:
            self.reader.close()
            self.loop.close()

    async def _finish(self) -> None:
        await self.settle()
        await self._bring_back(50)
        for _ in range(150):
            await self._work_off()
            owner = self.world.owner
            if not owner.open_count() and not owner.backlog_count() and self.world.shard.committer.idle:
                break
        self.check_end()
        await self.world.owner.stop()

    async def _bring_back(self, credit: int) -> None:
        for client in self.clients:
            if not client.gone:
                await client.connect(self.world)
        for agent in self.agents:
            agent.connect(self.world, credit)
        await self.settle()

    async def _work_off(self) -> None:
        for agent in self.agents:
            if agent.draining and agent.done:
                agent.die()
            if agent.peer is None:
                agent.connect(self.world, 50)
            for run_id in agent.cancelled():
                agent.give_up(run_id, "cancelled")
            for run_id, epoch in list(agent.working.items()):
                agent.report(run_id, epoch)
            agent.grant(10)
        for client in self.clients:
            for flow in client.flows - client.decided.keys():
                if client.peer is not None and client.answered(flow):
                    retry = flow in client.awaiting_retry
                    await client.report_flow(flow, FlowEvent.STARTED if retry else FlowEvent.SUCCEEDED)
        await self._pass_time(1, alive=True)

    def check_end(self) -> None:
        shard, rows = self.world.shard, self.rows()
        runs = self.world.runs.values()
        assert not runs, f"stuck: {[(run.run_id.hex()[-4:], S(run.state)) for run in runs]}"
        check_nothing_left(shard)
        assert not any(run.state < FIRST_FINAL for run in rows.values()), "recorded as open"
        for client in self.clients:
            client.check_end(rows)
        for row in rows.values():
            self.check_row(row, rows)
        self.check_order(rows)

    def check_order(self, rows: dict[bytes, StoredRun]) -> None:
        """Runs of a session, queue and priority start as they were submitted, unless they met trouble."""
        trouble = set().union(*(one.resent for one in self.clients), *(one.underway for one in self.agents))
        started: dict[tuple[object, ...], list[tuple[int, int]]] = {}
        for run_id, epoch in self.first_epochs.items():
            spec, seq = self.specs[run_id], rows[run_id].seq
            if spec.plain and run_id not in trouble and not self.reader.events(seq):
                group = (epoch >> 32, spec.session, spec.queue, spec.priority)
                started.setdefault(group, []).append((epoch, seq))
        for order in started.values():
            seqs = [seq for _, seq in sorted(order)]
            assert seqs == sorted(seqs), "overtook an earlier run"

    def check_row(self, row: StoredRun, rows: dict[bytes, StoredRun]) -> None:
        spec = self.specs[row.run_id]
        events = self.reader.events(row.seq)
        assert not [event for event in events if event.state >= FIRST_FINAL], "a second end"
        assert [event.attempt for event in events] == sorted(event.attempt for event in events)
        assert all(event.attempt <= row.attempt for event in events)
        failures = len([1 for run_id, _ in self.failures if run_id == row.run_id])
        if row.kind == RunKind.TASK:
            assert row.attempt - 1 <= min(failures, spec.max_retries), "a failure was counted twice"
        if row.run_id in self.cancelled:
            assert row.state == S.CANCELLED, "an acknowledged cancellation was forgotten"
        if row.state == S.NOT_READY:
            assert row.reason == StateReason.UPSTREAM
        self.edges.check_ended(row, rows)
        if row.kind != RunKind.TASK or row.state != S.COMPLETED:
            return
        if row.reason == StateReason.CACHED:
            assert row.outcome is not None
            data = sp.RunOutcome.FromString(row.outcome).result.data
            assert data in {other.result for other in rows.values() if other.cache_key == row.cache_key} | {
                other.result for other in rows.values() if row.cache_key is None
            }
        else:
            assert row.result == result_of(row.run_id, row.epoch), "the result of another execution"


@pytest.fixture(autouse=True)
def _retry_commits_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "RETRY_DELAYS", (0.0,))


SEARCHING = "OWNER_MODEL_EXAMPLES" in os.environ
# The same examples every time, unless somebody looks for new ones; making one smaller takes minutes.
OwnerModel.TestCase.settings = settings(
    max_examples=EXAMPLES, derandomize=not SEARCHING, deadline=None, stateful_step_count=STEPS,
    phases=list(Phase) if SEARCHING else [Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
TestOwnerModel = OwnerModel.TestCase
