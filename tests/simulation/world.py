"""A play: everybody in one loop, what goes wrong, and how it is made whole and has to come to rest."""

import asyncio
import gc
import hashlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from random import Random
from typing import Any, Final

import grpc.aio

from simulation import faults
from simulation.agent import AgentNode
from simulation.client import ClientNode
from simulation.history import Event, History, Terms
from simulation.loop import Node, NodeKilled, SimulatedClock, SimulatedLoop
from simulation.net import Network
from simulation.plan import Plan
from simulation.program import Program
from simulation.server import ServerNode
from simulation.store import Database
from simulation.watch import Watch
from simulation.worker import FIRST_PID
from taskyard._network.session import log_outbox
from taskyard_contract import id_factory
from taskyard_contract.agent_link import outbox, pending
from taskyard_contract.errors import TaskyardError

EXPECTED: Final = (
    TaskyardError, asyncio.CancelledError, asyncio.InvalidStateError, grpc.aio.AioRpcError,
    grpc.aio.AbortError, grpc.aio.UsageError, grpc.aio.InternalError, NodeKilled, TimeoutError,
)  # fmt: skip
"""What tasks may end with: whoever waits for them deals with it."""
PLAYS_PER_COLLECTION: Final = 16
"""Garbage of plays is large and does not matter; to collect it takes as long as half a play."""
LOG_CEILINGS: Final = (
    (pending, "MOST_PENDING_LOG_BYTES"), (outbox, "MOST_LOG_BYTES"), (log_outbox, "MOST_WAITING_BYTES"),
    (log_outbox, "MOST_UNACKNOWLEDGED_BYTES"),
)  # fmt: skip
Tracer = Callable[[float, str, str], None]
QUIET: Final = ("taskyard", "taskyard_agent", "taskyard_contract", "taskyard_controlplane")


class World:
    """One installation, from its first moment to its last."""

    def __init__(self, seed: str, plan: Plan, tracer: Tracer | None = None) -> None:
        self.seed = seed
        self.plan = plan
        self.loop = SimulatedLoop()
        self.clock = SimulatedClock(self.loop)
        self.history = History()
        self.net = Network(self.loop, seed)
        self.random = Random(f"{seed}/world")
        self.database = Database(self)
        self.processes: dict[int, Any] = {}
        self._pid = FIRST_PID
        self._tracer = tracer
        self._digest = hashlib.blake2b(digest_size=16)
        self.server: ServerNode | None = None
        self.rivals: list[ServerNode] = []
        """Servers whose place another one has taken while they went on."""
        self.agents: dict[str, AgentNode] = {}
        self.twins: list[AgentNode] = []
        self.clients: dict[str, ClientNode] = {}
        self.down_for: dict[str, float] = {}
        """How long who is killed next stays away."""
        self.whole = False
        self.over = self.closed = False
        self._number = 0
        self.watch = Watch(self)
        self.net.observe = self._observe
        self.net.watch = self.watch.message
        self.loop.on_spin = self._spun
        self.loop.on_error = self._unhandled

    # What everybody uses.

    def note(self, kind: str, run: str = "", epoch: int = 0, who: str = "", value: Any = None) -> None:
        """Write down that something happened."""
        if self.closed:
            return
        self.history.events.append(Event(self.loop.time(), kind, run, epoch, who, value))
        if self._tracer is not None:
            name = f" {run[4:16]}@{epoch:x}" if run else ""
            self.trace("*", f"{kind}{name} {who[:40]} {value if value is not None else ''}")

    def trace(self, who: str, text: str) -> None:
        if self._tracer is not None:
            self._tracer(self.loop.time(), who, text)

    def next_pid(self) -> int:
        self._pid += 1
        return self._pid

    def digest(self) -> str:
        return self._digest.hexdigest()

    def _observe(self, address: str, way: str, data: bytes) -> None:
        self._digest.update(f"{self.loop.time():.6f} {address} {way} ".encode() + data)

    def signal(self, pid: int, signum: int) -> None:
        """Stand for `os.killpg`."""
        worker = self.processes.get(pid)
        if worker is None:
            raise ProcessLookupError
        worker.signal(signum)

    def _spun(self, node: Node | None) -> None:
        self.note("spin", who=node.name if node is not None else "")

    def _unhandled(self, node: Node | None, error: BaseException) -> None:
        if not isinstance(error, EXPECTED):
            where = f"{node.name}: " if node is not None else ""
            self.note("unhandled", value=f"{where}{type(error).__name__}: {error}")
            if self._tracer is not None:
                sys.excepthook(type(error), error, error.__traceback__)

    # Who comes and goes.

    def start_server(self) -> None:
        if self.over or (self.server is not None and self.server.node.alive):
            return
        self._number += 1
        self.server = ServerNode(self, self._number)
        self.server.node.spawn(self.server.start())

    def take_over(self) -> ServerNode | None:
        """Let another server take the place of the one there is; returns that, which goes on."""
        server = self.server
        if self.over or server is None or not server.ready or not server.node.alive:
            return None
        self.trace(server.node.name, "is superseded")
        server.give_way()
        self.rivals.append(server)
        self.server = None
        self.loop.later(self.random.uniform(0.01, 1.0), self.start_server)
        return server

    def server_died(self, server: ServerNode) -> None:
        self.trace(server.node.name, "is dead")
        if server.superseded:
            return
        self.loop.later(self._away("server"), self.start_server)

    def _away(self, name: str) -> float:
        """Return for how long somebody stays away who has just been killed."""
        usual = 0.5 + self.random.random()
        seconds = self.down_for.pop(name, usual)
        return usual if self.whole else seconds

    def start_agent(self, name: str) -> None:
        if self.over or (name in self.agents and self.agents[name].node.alive):
            return
        self._number += 1
        agent = AgentNode(self, name, self._number, self.plan.agents[int(name[1:])])
        self.agents[name] = agent
        agent.node.spawn(agent.run())

    def start_twin(self, name: str) -> None:
        """Start another process under the name of an agent that goes on."""
        if name in self.agents:
            self.twins.append(self.agents.pop(name))
        self.start_agent(name)

    def replaced(self, agent: AgentNode) -> bool:
        """Whether another process goes by an agent's name: nobody can tell which of the two was meant."""
        others = [*self.agents.values(), *self.twins]
        return any(each.host == agent.host and each is not agent for each in others)

    def agent_died(self, agent: AgentNode) -> None:
        self.trace(agent.node.name, "is dead")
        if self.agents.get(agent.host) is agent:
            self.loop.later(self._away(agent.host), self.start_agent, agent.host)

    def start_client(self, name: str) -> None:
        if self.over or (name in self.clients and self.clients[name].node.alive):
            return
        self._number += 1
        client = ClientNode(self, name, self._number)
        self.clients[name] = client
        client.node.run(client.start)

    def client_died(self, client: ClientNode) -> None:
        self.trace(client.node.name, "is dead")
        self.loop.later(self._away(client.host), self.start_client, client.host)

    def cancel_at_owner(self, run_ids: list[bytes]) -> None:
        """Request the end of runs as unary calls do, and note what was answered."""
        server = self.server
        if server is None or not server.ready or server.node.paused:
            return

        async def cancel(run_id: bytes) -> None:
            with suppress(TaskyardError):
                state = await server.owner.cancel(run_id)
                self.note("cancel_acknowledged", run_id.hex(), value=state)

        for run_id in run_ids:
            server.node.spawn(cancel(run_id))

    def peers(self) -> list[Any]:
        return [*self.agents.values(), *self.clients.values(), *self.twins]

    def programs(self) -> list[tuple[Node, Program | None]]:
        """Return whoever can submit runs, with what does it, if that is connected already."""
        clients = [each for each in self.clients.values() if each.node.alive]
        return [
            *((each.node, getattr(each, "program", None)) for each in clients),
            *((each.node, each.program) for each in self.processes.values() if each.program is not None),
        ]

    def nodes(self) -> list[Node]:
        """Return all processes, workers too."""
        servers = [self.server.node] if self.server is not None else []
        servers += [each.node for each in self.rivals]
        return [
            *servers,
            *(peer.node for peer in self.peers()),
            *(each.node for each in self.processes.values()),
        ]

    # The play.

    def play(self) -> History:
        """Play the plan, make the world whole, wait until it rests; returns what happened."""
        plan, loop = self.plan, self.loop
        self.note("terms", value=Terms(plan.lease, plan.waiting))
        self.start_server()
        for number in range(len(plan.agents)):
            loop.later(0.05 + 0.01 * number, self.start_agent, f"a{number}")
        for number in range(plan.clients):
            loop.later(0.05 + 0.013 * number, self.start_client, f"c{number}")
            self.net.link(f"c{number}").proxied = plan.proxied
        for number in range(len(plan.agents)):
            self.net.link(f"a{number}").proxied = plan.proxied
        for number, job in enumerate(plan.jobs):
            loop.later(job.at, self._begin, number)
        for fault in plan.faults:
            loop.later(fault.at, faults.begin, self, fault)
        ends = [fault.at + fault.seconds for fault in plan.faults] + [job.at for job in plan.jobs]
        loop.later(max(ends, default=1.0) + 1.0, self._make_whole)
        loop.run_forever()
        self.watch.finish()
        self._look_at_tasks()
        return self.history

    def _begin(self, number: int) -> None:
        job = self.plan.jobs[number]
        client = self.clients.get(f"c{job.client}")
        if client is not None and client.node.alive:
            client.node.run(client.begin, number, job)

    def _make_whole(self) -> None:
        self.note("whole")
        self.whole = True
        faults.heal(self)
        self.start_server()
        for number in range(len(self.plan.agents)):
            self.start_agent(f"a{number}")
        self._until = self.loop.time() + self.plan.patience()
        self.loop.later(1.0, self._look)

    def _look(self) -> None:
        """See whether everything has come to rest."""
        resting = self.watch.look()
        if resting or self.loop.time() >= self._until or self.watch.hopeless:
            self.over = True
            self.watch.at_end(resting)
            self.loop.stop()
        else:
            self.loop.later(1.0, self._look)

    def _look_at_tasks(self) -> None:
        for task in self.loop.tasks:
            if task.done() and not task.cancelled():
                error = task.exception()
                if error is not None:
                    self._unhandled(None, error)

    def close(self) -> SimulatedLoop:
        """Let go of everything, without anything of it doing anything more; returns what to close last."""
        self.closed = True
        for node in self.nodes():
            node.on_crash = lambda: None
            node.kill()
        for server in (self.server, *self.rivals):
            if server is not None:
                server.lose()
        self.database.close()
        for task in self.loop.tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        self.loop.forget()
        return self.loop


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Collect garbage between plays only, and let what dies with a play say nothing to anybody."""
    collecting, hook = gc.isenabled(), sys.unraisablehook
    gc.disable()
    if not gc.get_freeze_count():
        gc.freeze()  # modules and the like are looked at no more
    sys.unraisablehook = lambda _: None
    try:
        with warnings.catch_warnings():  # of tasks that died before their first step
            warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
            yield
    finally:
        sys.unraisablehook = hook
        if collecting:
            gc.enable()


@contextmanager
def _borrowed(world: World) -> Iterator[None]:
    """Let the parts of the product that belong to a process as a whole be those of a world."""
    factory, killpg = id_factory._factory, os.killpg
    kept = factory._now_ns, factory._random_bytes
    ceilings = [(module, name, getattr(module, name)) for module, name in LOG_CEILINGS]
    if world.plan.log_bytes:
        for module, name, _ in ceilings:
            setattr(module, name, world.plan.log_bytes)
    os.killpg = world.signal  # type: ignore[assignment]
    factory._now_ns, factory._random_bytes = world.loop.wall_ns, Random(f"{world.seed}/ids").randbytes
    factory.reset()
    try:
        yield
    finally:
        os.killpg = killpg
        for module, name, most in ceilings:
            setattr(module, name, most)
        factory._now_ns, factory._random_bytes = kept
        factory.reset()


@contextmanager
def _quiet() -> Iterator[None]:
    levels = {name: logging.getLogger(name).level for name in QUIET}
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def play(seed: str, plan: Plan, tracer: Tracer | None = None) -> tuple[History, str]:
    """Play a plan; returns what happened, and a digest over all frames that were sent."""
    return next(iter(plays([(seed, plan)], tracer)))


def plays(several: Iterable[tuple[str, Plan]], tracer: Tracer | None = None) -> list[tuple[History, str]]:
    """Play several plans, one after the other."""
    results: list[tuple[History, str]] = []
    dead: list[SimulatedLoop] = []
    with _undisturbed(), nullcontext() if tracer is not None else _quiet():
        for seed, plan in several:
            world = World(seed, plan, tracer)
            with _borrowed(world):
                results.append((world.play(), world.digest()))
                dead.append(world.close())
            del world
            if len(dead) == PLAYS_PER_COLLECTION:
                _bury(dead)
        with _quiet():
            _bury(dead)
    return results


def _bury(loops: list[SimulatedLoop]) -> None:
    """Collect what is left of plays; their loops last, because what is collected may still call them."""
    gc.collect()
    for loop in loops:
        loop.close()
    loops.clear()
