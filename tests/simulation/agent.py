"""An agent's process: the real link session and pool, with a stream or calls. Workers are simulated."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from simulation.channel import Channel
from simulation.lines import Lines
from simulation.loop import Node
from simulation.polling import PolledLink
from simulation.program import ADDRESS
from simulation.worker import Zygote
from taskyard_agent.app import CAPABILITIES
from taskyard_agent.processes.pool import ProcessPool
from taskyard_agent.processes.workforce import Workforce
from taskyard_api.v1 import common_pb2
from taskyard_contract.agent_link import AgentStream, Identity, LinkSession
from taskyard_contract.blobs.names import name_of, sha256_name
from taskyard_contract.errors import BlobNotFound, TaskyardError

BLOB_SECONDS: Final = 0.01


class Blobs:
    """Stands for the agent's `BlobStore`: what is recorded can be had."""

    def __init__(self, world: Any) -> None:
        self._world = world
        self._here: set[str] = set()
        self.directory = Path("/nowhere")
        self.capacity = 1 << 31
        self.in_use: Callable[[], Iterable[str]] = tuple

    def look_for(self, store: common_pb2.BlobDirectory) -> str:
        """It is not seen from here: what runs need is fetched."""
        return ""

    def path(self, blob: common_pb2.BlobRef) -> Path:
        return Path("/nowhere") / name_of(blob)

    def evict(self) -> None:
        """There is room."""

    def has(self, blobs: Iterable[common_pb2.BlobRef]) -> bool:
        return self._here.issuperset(map(name_of, blobs))

    def ask_again(self, blobs: Iterable[common_pb2.BlobRef]) -> None:
        """Nothing is taken for gone."""

    async def fetch(self, blobs: Iterable[common_pb2.BlobRef]) -> None:
        await asyncio.sleep(BLOB_SECONDS)
        known = {sha256_name(row[0]) for row in self._world.database.rows("SELECT digest FROM code_blob")}
        for name in map(name_of, blobs):
            if name not in known:
                raise BlobNotFound(f"blob {name} is not stored")
            self._here.add(name)

    async def upload(self, blob: common_pb2.BlobRef) -> None:
        await asyncio.sleep(BLOB_SECONDS)


class Link(LinkSession):
    """A session of which is noted how many log records it gives up; they are to be told of soon."""

    told: Callable[[int], None] = staticmethod(lambda count: None)
    _dropped = 0

    @property
    def dropped_logs(self) -> int:  # type: ignore[override]
        return self._dropped

    @dropped_logs.setter
    def dropped_logs(self, count: int) -> None:
        if count > self._dropped:
            self.told(count - self._dropped)
        self._dropped = count


class AgentNode:
    """One agent process, from its start to its end."""

    def __init__(self, world: Any, name: str, number: int, slots: int) -> None:
        self._world = world
        self.host = name
        self.node = Node(world.loop, f"{name}#{number}", world.seed)
        self.node.on_crash = self._crashed
        self.session_id = self.node.random.randbytes(16)
        self.session = self.session_id.hex()
        self.slots, self.most_waiting = slots, world.plan.waiting
        self.zygote = Zygote(world, self)
        self.drained = asyncio.Event()
        self.pool: ProcessPool
        self.link: LinkSession
        self.stream: AgentStream | PolledLink
        self.leaving = False
        """Whether it ends by itself."""

    async def run(self) -> None:
        """Serve until it is told to stop, as `taskyard_agent.app.Agent` does."""
        world = self._world
        identity = Identity(
            agent_id=self.host,
            session_id=self.session_id,
            name=self.host,
            queues=("default",),
            slots=self.slots,
            capabilities=CAPABILITIES,
        )
        workforce = Workforce(
            self.slots,
            lambda: self.zygote,  # type: ignore[arg-type, return-value]
            lambda: Lines(world.loop, self.node),  # type: ignore[arg-type, return-value]
            self.most_waiting,
        )
        self.pool = ProcessPool(
            self.slots,
            workforce,
            Blobs(world),
            self.drained.set,
            world.loop.now_ns,  # type: ignore[arg-type]
        )
        self.link = Link(identity, self.pool)
        self.link.told = lambda count: world.note("logs_dropped", who=self.session, value=count)
        self.stream = self._connect()
        self.pool.serve(self.link)
        serving = asyncio.ensure_future(self.stream.run())
        waiting = asyncio.ensure_future(self.drained.wait())
        await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            self.pool.on_drain()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.pool.emptied(), 60.0)
            await self.stream.settle(5.0)
            self.stream.stop()
        try:
            await serving
        except TaskyardError as error:
            world.note("peer_ended", who=self.session, value=(type(error).__name__, world.replaced(self)))
        self.leaving = True
        self.pool.close()
        self.node.kill()

    def _connect(self) -> AgentStream | PolledLink:
        world = self._world
        if int(self.host[1:]) in world.plan.polled:
            return PolledLink(world, self.node, self.link)
        return AgentStream(
            ADDRESS,
            self.link,
            world.clock,
            connect=lambda address: Channel(world.net, self.node),  # type: ignore[arg-type, return-value]
            draw=self.node.random.uniform,
        )

    def drain(self) -> None:
        self.node.run(self.drained.set)

    def held(self) -> set[tuple[bytes, int]]:
        """Return what the agent holds, or has ended without having been told that it is durable."""
        keys = {(key.run_id, key.epoch) for key in self.link._held()}
        unwanted = {
            (key.run_id, key.epoch)
            for worker in self.pool.workforce.workers.values()
            for key in worker.dropped()
        }
        return keys - unwanted

    @property
    def idle(self) -> bool:
        return (
            hasattr(self, "link")
            and not self.pool.holdings.runs
            and self.link.settled
            and not self.link.dropped_logs
        )

    def workers(self) -> list[Any]:
        return [each for each in self._world.processes.values() if each._agent is self]

    def end_workers(self) -> None:
        for worker in self.workers():
            worker.node.kill()

    def _crashed(self) -> None:
        if not self.leaving:
            self._world.note("died", who=self.session)
        self._world.net.died(self.node)
        self.end_workers()
        self._world.agent_died(self)
