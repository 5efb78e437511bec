"""An owner with clients and agents that are played by the test, without gRPC between them.

Time is the test's: leases and retry delays pass when `advance` is called.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import common_pb2
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_api.v1 import template_pb2 as tp
from taskyard_contract.errors import TaskyardError
from taskyard_contract.id_factory import new_id, new_ids
from taskyard_contract.ids import split_ids
from taskyard_contract.states import RunKind, RunState, UpstreamKind
from taskyard_controlplane.blobs.interface import BlobStore
from taskyard_controlplane.blobs.memory import MemoryStore
from taskyard_controlplane.domain.memory import MemoryLimits
from taskyard_controlplane.domain.model import Run
from taskyard_controlplane.owner.peers.peer import Caller
from taskyard_controlplane.owner.queueing.backlog import WINDOW
from taskyard_controlplane.owner.queueing.large_bodies import Place
from taskyard_controlplane.owner.queueing.parking import MOST_OPEN
from taskyard_controlplane.owner.retention.policy import DEFAULT_POLICY, Policy
from taskyard_controlplane.owner.rules.retry_delays import RetryDelays
from taskyard_controlplane.owner.serving.owner import DEFAULT_MEMORY, Owner
from taskyard_controlplane.owner.serving.terms import LeaseTimes
from taskyard_controlplane.storage import create_reader, create_store

T = TypeVar("T")

CALLER = Caller("test")
LEASES = LeaseTimes(agent_lease=30.0, agent_heartbeat=5.0, session_lease=30.0, session_heartbeat=5.0)


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def now_us(self) -> int:
        return 1_700_000_000_000_000 + round(self.seconds * 1_000_000)

    def monotonic(self) -> float:
        return self.seconds


class World:
    """An owner and everybody around it."""

    def __init__(
        self,
        url: str,
        window: int = WINDOW,
        most_open: int = MOST_OPEN,
        *,
        draw: Callable[[], float] = random.random,
        writer: Executor | None = None,
        memory: MemoryLimits = DEFAULT_MEMORY,
        policy: Policy = DEFAULT_POLICY,
        blob_bytes: BlobStore | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.failed: list[BaseException] = []
        self.url = url
        self.store, self.reader = create_store(url), create_reader(url)
        self.owner = Owner(
            self.store,
            LEASES,
            self.clock,
            max_inline_bytes=65_536,
            max_payload_bytes=1 << 20,
            fatal=self.failed.append,
            window=window,
            most_open=most_open,
            delays=RetryDelays(draw),
            writer=writer,
            memory=memory,
            policy=policy,
        )
        self.blob_bytes = blob_bytes

    async def start(self) -> None:
        """Start the owner; the store of blobs opens when it owns the database."""
        await self.owner.start()
        self.owner.retention.blobs.data = self.blob_bytes
        self.owner.shard.delivery.bodies.place = Place(self.blob_bytes or MemoryStore(), self.reader)

    @property
    def shard(self) -> Any:
        return self.owner.shard

    @property
    def runs(self) -> dict[bytes, Run]:
        """The open runs in memory, by id."""
        return self.owner.shard.book.runs

    async def ask(self, question: Callable[[], T]) -> T:
        """Ask the database something."""
        return await self.owner.shard.committer.run(question)

    async def settle(self) -> None:
        """Let everything that can happen without time happen."""
        for _ in range(4):
            await self.shard.committer.flush()
            await self.shard.logs.settled()
            for _ in range(5):
                await asyncio.sleep(0)
        assert not self.failed, self.failed

    async def advance(self, seconds: float) -> None:
        """Let time pass."""
        await self.settle()
        self.clock.seconds += seconds
        self.shard.timers.fire()
        await self.settle()

    async def advance_slowly(self, seconds: float, step: float = 1.0) -> None:
        """Let time pass in steps short enough to be no stall."""
        for _ in range(round(seconds / step)):
            await self.advance(step)

    def client(
        self,
        session_id: bytes | None = None,
        caller_run_id: bytes = b"",
        stream_number: int = 0,
        says_ends: bool = False,
    ) -> "Client":
        return Client(self, session_id or new_id(), caller_run_id, stream_number, says_ends)

    def agent(self, agent_id: str = "a", credit: int = 100, chunk: int = 100, **options: Any) -> "Agent":
        return Agent(self, agent_id, credit, chunk, **options)

    async def history(self, run_id: bytes) -> list[int]:
        """Return the states the database has recorded for a run, the last one included."""
        row = (await self.ask(lambda: self.store.runs_by_id([run_id])))[0]
        events = await self.ask(lambda: self.store.events_of([row.seq]))
        return [event.state for event in events] + [row.state]


@asynccontextmanager
async def world(url: str = "sqlite://", **options: Any) -> AsyncIterator[World]:
    """Start an owner; ends it in order."""
    it = World(url, **options)
    await it.start()
    await it.settle()
    try:
        yield it
    finally:
        await it.owner.stop()
        it.reader.close()


class Peer:
    """Somebody with a stream."""

    def __init__(self) -> None:
        self.closed: TaskyardError | None = None
        # A lambda of its own per stream: the owner tells streams apart by identity.
        self.wake: Callable[[], None] = lambda: None

    def close(self, error: TaskyardError) -> None:
        self.closed = error


class Client(Peer):
    """A session played by the test."""

    def __init__(
        self,
        world: World,
        session_id: bytes,
        caller_run_id: bytes = b"",
        stream_number: int = 0,
        says_ends: bool = False,
    ) -> None:
        super().__init__()
        self._world = world
        self.number = 0
        """Of the last batch."""
        self._templates = 0
        self.results: dict[bytes, bytes] = {}
        self.outcomes: dict[bytes, sp.RunOutcome] = {}
        self.refused: dict[bytes, sp.RefusedRun] = {}
        self.decisions: list[sp.FlowDecision] = []
        self.cancel_requests: list[bytes] = []
        self.shown: list[tuple[str, str]] = []
        """Names of runs, and what was written of them."""
        self.acknowledged = 0
        hello = sp.SessionHello(
            protocol_min=2, protocol_max=2, session_id=session_id, client_name="test",
            caller_run_id=caller_run_id, stream_number=stream_number, says_ends=says_ends,
        )  # fmt: skip
        self.session, self.welcome = world.owner.connections.clients.open(
            hello, CALLER, self.wake, self.close
        )

    async def send(self, **fields: Any) -> None:
        await self._world.owner.connections.clients.receive(self.session, sp.ClientFrame(**fields))

    async def submit(
        self, count: int = 1, *, resend: bool = False, flow: bytes = b"", caller: bytes = b"",
        upstream: Any = None, cache_keys: list[str] | None = None, run_ids: list[bytes] | None = None,
        args: list[bytes] | None = None, extras: Sequence[common_pb2.Payload] = (), outlives: bool = False,
        **template: Any,
    ) -> list[bytes]:  # fmt: skip
        """Submit runs of a new template; `upstream` is a list of (position, id, kind), `extras` are labelled
        arguments of the first runs.
        """
        self.number += 1
        self._templates += 1
        ids = run_ids or new_ids(count)
        template.setdefault("kind", RunKind.TASK)
        template.setdefault("name", "task")
        template.setdefault("queue", "default")
        template.setdefault("encoding", "python/pickle5")
        edges = upstream or []
        group = sp.RunGroup(
            template=self._templates, run_ids=ids, flow_run_id=flow, caller_run_id=caller,
            cache_keys=cache_keys or [],
            args=args if args is not None else [b"args"] * len(ids),
            upstream_positions=[edge[0] for edge in edges],
            upstream_ids=[edge[1] for edge in edges],
            upstream_kinds=[edge[2] if len(edge) > 2 else UpstreamKind.DATA for edge in edges],  # type: ignore[misc]
            extras=[sp.RunExtra(position=at, payload=payload) for at, payload in enumerate(extras)],
            outlives_session=outlives,
        )  # fmt: skip
        definition = tp.TemplateDefinition(index=self._templates, template=tp.RunTemplate(**template))
        batch = sp.SubmitBatch(number=self.number, templates=[definition], groups=[group], resend=resend)
        await self.send(submit=batch)
        return ids

    async def start_flow(self, **template: Any) -> bytes:
        """Submit a flow run and say that its body started."""
        [flow] = await self.submit(kind=RunKind.FLOW, name="flow", queue="", **template)
        await self.send(flow_reports=[sp.FlowReport(run_id=flow, event=1)])  # type: ignore[arg-type]
        await self._world.settle()
        return flow

    def receive(self) -> None:
        """Take what was sent to the client."""
        while (frame := self.session.next_frame()) is not None:
            self.session.written()
            self.acknowledged = max(self.acknowledged, frame.submitted_up_to)
            self.results.update(zip(frame.results.run_ids, frame.results.data, strict=True))
            self.outcomes.update({outcome.run_id: outcome for outcome in frame.results.others})
            self.refused.update({refused.run_id: refused for refused in frame.refused})
            self.decisions.extend(frame.flow_decisions)
            self.shown.extend(zip(frame.logs.run_names, frame.logs.messages, strict=True))
            self.cancel_requests.extend(frame.cancel_requests)

    def state_of(self, run_id: bytes) -> int | None:
        """Return the final state the client was told of a run, None for none yet."""
        self.receive()
        if run_id in self.results:
            return int(RunState.COMPLETED)
        outcome = self.outcomes.get(run_id)
        return None if outcome is None else int(outcome.state)

    def disconnect(self) -> None:
        self._world.owner.connections.clients.disconnected(self.session, self.wake)


class Agent(Peer):
    """An agent played by the test."""

    def __init__(
        self, world: World, agent_id: str, credit: int, chunk: int, *,
        session_id: bytes | None = None, held: list[tuple[bytes, int]] | None = None,
        queues: tuple[str, ...] = ("default",), capabilities: tuple[str, ...] = (),
        labels: Mapping[str, str] | None = None, stream_number: int = 0, coroutines: int = 0,
        own_session_id: bytes = b"", serves: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        self._world = world
        self._reports = 0
        self.granted = credit
        self._held = dict(held or [])
        self.assigned: dict[bytes, int] = {}
        self.chunks: list[ap.AssignChunk] = []
        self.bodies: dict[bytes, tuple[ap.ChunkBody, int]] = {}
        self.cancels: list[bytes] = []
        self.to_end: set[bytes] = set()
        """What it was told to end, and had: what comes before the assignment is ignored, and said again."""
        self.definitions: dict[int, tp.TemplateDefinition] = {}
        self.ended_worlds: list[bytes] = []
        self.acknowledged = 0
        self.session_id = session_id or new_id()
        hello = ap.AgentHello(
            protocol_min=2, protocol_max=2, agent_id=agent_id, session_id=self.session_id, name=agent_id,
            queues=queues, slots=2, capabilities=capabilities, labels=labels or {},
            held=[ap.RunKey(run_id=run_id, epoch=epoch) for run_id, epoch in held or []],
            stream_number=stream_number, coroutines=coroutines, own_session_id=own_session_id,
            serves=serves,
        )  # fmt: skip
        self.agent, self.welcome = world.owner.connections.agents.open(hello, CALLER, self.wake, self.close)
        dropped = {key.run_id for key in self.welcome.drop}
        self.adopted = [run_id for run_id, _ in held or [] if run_id not in dropped]
        """What was held and goes on."""
        self.send(credit=ap.Credit(granted_total=credit, chunk_size=chunk))

    def send(self, **fields: Any) -> None:
        self._world.owner.connections.agents.receive(self.agent, ap.AgentFrame(**fields))

    def heartbeat(self) -> None:
        self.send(heartbeat=1)

    def receive(self) -> list[bytes]:
        """Take what was sent to the agent; returns the ids of newly assigned runs."""
        new: list[bytes] = []
        while (frame := self.agent.next_frame()) is not None:
            self.acknowledged = max(self.acknowledged, frame.reported_up_to)
            self.cancels.extend(key.run_id for key in frame.cancel)
            self.definitions.update({each.index: each for each in frame.templates})
            self.ended_worlds.extend(frame.ended_worlds)
            for chunk in frame.chunks:
                self.chunks.append(chunk)
                body = ap.ChunkBody.FromString(chunk.body)
                for position, run_id in enumerate(split_ids(chunk.run_ids)):
                    self.assigned[run_id] = chunk.first_epoch + position
                    self.bodies[run_id] = (body, position)
                    new.append(run_id)
            had = self._held | self.assigned
            self.to_end.update(key.run_id for key in frame.cancel if had.get(key.run_id) == key.epoch)
        return new

    def inputs_of(self, run_id: bytes) -> dict[bytes, bytes]:
        """Return the upstream results sent along with a run."""
        body, position = self.bodies[run_id]
        others = {other.run_id: other.result.data for other in body.others}
        return {
            upstream_id: others.get(upstream_id, data)
            for at, upstream_id, data in zip(body.input_positions, body.input_ids, body.inputs, strict=True)
            if at == position
        }

    def report(
        self, run_ids: list[bytes], *, epoch: int | None = None, value: bytes = b"result",
        began_us: int = 0, took_us: int = 5, **exception: Any,
    ) -> None:  # fmt: skip
        """Report the end of runs, `took_us` after they began: `value` for each, or what is described."""
        self._reports += 1
        chunks = []
        for run_id in run_ids:
            columns = ap.ReportColumns(
                base_us=began_us or self._world.clock.now_us(), started_us=[0], durations_us=[took_us],
                results=[b"" if exception else value],
                exceptions=[ap.ReportException(position=0, **exception)] if exception else [],
            )  # fmt: skip
            chunks.append(
                ap.ReportChunk(
                    first_epoch=self.assigned[run_id] if epoch is None else epoch,
                    run_ids=run_id,
                    columns=columns.SerializeToString(),
                )
            )
        self.granted += len(run_ids)
        self.send(
            report_number=self._reports, reports=chunks,
            credit=ap.Credit(granted_total=self.granted, chunk_size=100),
        )  # fmt: skip

    def key(self, run_id: bytes) -> ap.RunKey:
        return ap.RunKey(run_id=run_id, epoch=self.assigned[run_id])

    def disconnect(self) -> None:
        self._world.owner.connections.agents.disconnected(self.agent, self.wake)


Scenario = Callable[[World], Coroutine[Any, Any, None]]


def play(scenario: Scenario, url: str = "sqlite://", **options: Any) -> None:
    """Play a scenario on an owner of its own."""

    async def main() -> None:
        async with world(url, **options) as it:
            await scenario(it)

    asyncio.run(asyncio.wait_for(main(), 20))


async def assigned(it: World, agent: Agent) -> list[bytes]:
    """Let everything happen, then return what an agent was newly assigned."""
    await it.settle()
    return agent.receive()


async def started(url: str, window: int = WINDOW, most_open: int = MOST_OPEN) -> World:
    """Start an owner that the test will lose."""
    it = World(url, window, most_open)
    await it.start()
    await it.settle()
    return it


async def lose(it: World) -> None:
    """Lose an owner as a kill would."""
    it.shard.timers.stop()
    it.shard.logs.abandon()
    await it.shard.committer.close()
    it.store.logs.close()
    it.reader.close()


def kill_and_restart(
    path: Path,
    before: Scenario,
    after: Scenario,
    *,
    window: int = WINDOW,
    most_open: int = MOST_OPEN,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Play `before`, lose the owner as a kill would, play `after` on what the database kept."""
    url = f"sqlite:///{path}/yard.db"

    async def main() -> None:
        first = await started(url, window, most_open)
        await before(first)
        await lose(first)
        meanwhile()
        async with world(url, window=window, most_open=most_open) as second:
            await after(second)

    asyncio.run(asyncio.wait_for(main(), 20))
