"""The control plane's process: the real owner behind the real services."""

import asyncio
from typing import Any, Final

from simulation.loop import Node
from taskyard_api.v1 import agent_service_pb2_grpc, run_service_pb2_grpc, session_service_pb2_grpc
from taskyard_contract.errors import NotOwner
from taskyard_contract.states import RunState
from taskyard_controlplane.owner.queueing.backlog import WINDOW
from taskyard_controlplane.owner.queueing.parking import MOST_OPEN
from taskyard_controlplane.owner.rules.retry_delays import RetryDelays
from taskyard_controlplane.owner.serving.owner import Owner
from taskyard_controlplane.owner.serving.terms import LeaseTimes
from taskyard_controlplane.reading.background import Background
from taskyard_controlplane.reading.calls import CallReader
from taskyard_controlplane.reading.counting import RunCounter
from taskyard_controlplane.reading.runs import RunReader
from taskyard_controlplane.reading.summing import RunSummarizer
from taskyard_controlplane.rpc.agents import AgentService
from taskyard_controlplane.rpc.directory import Directory
from taskyard_controlplane.rpc.interceptors import _guarded
from taskyard_controlplane.rpc.runs import RunService
from taskyard_controlplane.rpc.sessions import SessionService
from taskyard_controlplane.rpc.streams import Places
from taskyard_controlplane.settings import PeerSettings, RpcSettings

PEERS: Final = PeerSettings()
LIMITS: Final = (PEERS, Places("streams", most=1000, per_address=1000))
RPC: Final = RpcSettings()
GRACE_SECONDS: Final = 1.0
"""For streams to end when it stops."""


class Writer:
    """Stands for the executor of the writer's thread: the loop does what is handed to it after a while."""

    def shutdown(self, wait: bool = True) -> None:
        """Nothing is left to wait for."""


class ServerNode:
    """One process of the control plane, from its start to its end."""

    def __init__(self, world: Any, number: int) -> None:
        self._world = world
        self.node = Node(world.loop, f"server#{number}", world.seed)
        self.node.on_crash = self._crashed
        self.ready = False
        self.superseded = False
        """Whether another server has the database by now, whatever this one believes."""
        self._handlers: dict[str, Any] = {}
        self._store = world.database.open()
        self._reader = world.database.reader()
        self._runs: RunService
        self.owner: Owner

    # What `add_..._to_server` wants.

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Take the handlers by their full names, each guarded as in the product."""
        for generic in handlers:
            for method, handler in generic._method_handlers.items():
                self._handlers[method] = _guarded(handler, method)

    def add_registered_method_handlers(self, service: str, handlers: Any) -> None:
        """They are the same ones once more."""

    def handler(self, method: str) -> Any:
        return self._handlers[method]

    async def start(self) -> None:
        """Recover, then listen."""
        world, plan = self._world, self._world.plan
        self.owner = Owner(
            self._store,
            LeaseTimes(plan.lease, plan.heartbeat, plan.lease, plan.heartbeat),
            world.clock,
            max_inline_bytes=65_536,
            max_payload_bytes=1 << 20,
            fatal=self._fatal,
            window=plan.window or WINDOW,
            most_open=2 * plan.window or MOST_OPEN,
            writer=Writer(),  # type: ignore[arg-type]
            delays=RetryDelays(self.node.random.random),
        )
        try:
            await self.owner.start()
        except Exception as error:
            world.trace("server", f"cannot start: {error}")
            self.node.kill()
            return
        self._note_disowned(world.loop.time() + plan.lease)
        directory = Directory()
        directory.note(self.owner)
        session_service_pb2_grpc.add_SessionServiceServicer_to_server(
            SessionService(directory, *LIMITS), self
        )  # type: ignore[no-untyped-call]
        agent_service_pb2_grpc.add_AgentServiceServicer_to_server(AgentService(directory, *LIMITS), self)  # type: ignore[no-untyped-call]
        background = Background(Writer())  # type: ignore[arg-type]
        reading = RunReader(self._reader, background, directory.live_state)
        counter = RunCounter(self._reader, background, reading, directory.live_state)
        summarizer = RunSummarizer(self._reader, background, directory.in_hand)
        self._runs = RunService(
            directory, reading, counter, RPC, PEERS, summarizer, CallReader(self._reader, background)
        )
        run_service_pb2_grpc.add_RunServiceServicer_to_server(self._runs, self)  # type: ignore[no-untyped-call]
        self.ready = True
        world.net.listener = self

    def _note_disowned(self, until: float) -> None:
        """Note what agents are to drop while they are believed, though it was not assigned anew."""
        world, runs, own = self._world, self.owner.shard.book.runs, self.owner.generation << 32
        restating = self.owner.connections.agents._restating
        reconcile = restating.reconcile

        def noting(agent: Any, hello: Any, welcome: Any) -> None:
            reconcile(agent, hello, welcome)
            for key in welcome.drop if world.loop.time() < until else ():
                run = runs.get(key.run_id)
                if run is not None and run.state == RunState.READY and run.epoch <= own:
                    world.note("disowned", key.run_id.hex(), key.epoch, hello.session_id.hex())

        restating.reconcile = noting

    def give_way(self) -> None:
        """Be superseded; nothing tells it."""
        self.superseded = True
        self._store.give_way()
        if self._world.net.listener is self:
            self._world.net.listener = None

    def cut_off(self, cut: bool) -> None:
        """Take the database away from it, and from nobody else, or give it back."""
        self._store.cut_off = cut

    def _fatal(self, error: BaseException) -> None:
        text = f"{type(error).__name__}: {error}"
        if self.superseded and isinstance(error, NotOwner):
            self._world.trace(self.node.name, text)
        else:
            self._world.note("fatal", who=self.node.name, value=text)
        self._world.loop.later(0.01, self.node.kill)

    async def stop(self) -> None:
        """End in order, as SIGTERM asks for."""
        self.owner.begin_stop()
        self._runs.begin_stop()
        if self._world.net.listener is self:
            self._world.net.listener = None
        await asyncio.sleep(GRACE_SECONDS)
        calls = [each.served for each in self._connections() if each.served is not None]
        for call in calls:
            call.stop()
        await self.owner.stop()
        self.node.kill()

    def tell_dropped(self) -> None:
        """Note how many log records it has given up, as its log and its metrics say."""
        if hasattr(self, "owner") and self.owner.metrics.dropped_logs:
            self._world.note("logs_dropped", who="server", value=self.owner.metrics.dropped_logs)

    def _connections(self) -> list[Any]:
        links = self._world.net.links.values()
        return [each for link in links for each in link.connections if each.server is self]

    def lose(self) -> None:
        """End what it has of the database, as the kernel does for a killed process."""
        self._store.lose()
        self._reader.close()

    def _crashed(self) -> None:
        self.tell_dropped()
        self.ready = False
        if self._world.net.listener is self:
            self._world.net.listener = None
        self.lose()
        self._world.net.died(self.node)
        self._world.server_died(self)
