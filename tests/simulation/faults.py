"""What goes wrong, and how it is mended."""

from typing import TYPE_CHECKING, Any

from simulation.plan import Fault
from simulation.store import FINE

if TYPE_CHECKING:
    from simulation.world import World


def begin(world: "World", fault: Fault) -> None:
    """Let a fault happen."""
    if world.whole:
        return
    world.trace(
        "!", f"{fault.what} {fault.who} for {fault.seconds:g} s {fault.way if fault.what == 'block' else ''}"
    )
    _FAULTS[fault.what](world, fault)


def heal(world: "World") -> None:
    """Make everything whole that does not come back by itself."""
    world.database.mood = FINE
    world.database.crash_before = world.database.crash_after = None
    for rival in world.rivals:
        rival.cut_off(False)
    for link in world.net.links.values():
        link.slow, link.doubling = 0.0, False
        link.unblock()
    for node in world.nodes():
        node.crash_at = -1
        node.resume()


def _peer(world: "World", name: str) -> Any:
    if name == "server":
        return world.server
    return world.agents.get(name) or world.clients.get(name)


def _kill(world: "World", fault: Fault) -> None:
    who = _peer(world, fault.who)
    if who is not None and who.node.alive:
        world.down_for[fault.who] = fault.seconds
        who.node.kill()


def _take_over(world: "World", fault: Fault) -> None:
    former = world.take_over()
    if former is None:
        return
    if fault.way == "pause":
        former.node.pause()
        world.loop.later(fault.seconds, former.node.resume)
    elif fault.way == "cut":
        former.cut_off(True)
        world.loop.later(fault.seconds, former.cut_off, False)


def _stop(world: "World", fault: Fault) -> None:
    server = world.server
    if server is not None and server.ready and server.node.alive:
        world.down_for["server"] = fault.seconds
        server.node.spawn(server.stop())


def _drain(world: "World", fault: Fault) -> None:
    agent = world.agents.get(fault.who)
    if agent is not None:
        world.down_for[fault.who] = fault.seconds
        agent.drain()


def _crash(world: "World", fault: Fault) -> None:
    if world.server is not None and world.server.node.alive:
        world.down_for["server"] = fault.seconds
        world.server.node.crash_at = fault.count


def _crash_before(world: "World", fault: Fault) -> None:
    world.down_for["server"] = fault.seconds
    world.database.crash_before = world.database.commits + fault.count


def _crash_after(world: "World", fault: Fault) -> None:
    world.down_for["server"] = fault.seconds
    world.database.crash_after = world.database.commits + fault.count


def _worker(world: "World", fault: Fault) -> None:
    agent = world.agents.get(fault.who)
    workers = agent.workers() if agent is not None else []
    if workers:
        workers[fault.count % len(workers)].signal(9)


def _zygote(world: "World", fault: Fault) -> None:
    agent = world.agents.get(fault.who)
    if agent is not None and agent.node.alive:
        agent.zygote.die()


def _block(world: "World", fault: Fault) -> None:
    link = world.net.link(fault.who)
    link.block(fault.way)
    world.loop.later(fault.seconds, link.unblock)


def _slow(world: "World", fault: Fault) -> None:
    link = world.net.link(fault.who)
    link.slow = fault.amount

    def quick() -> None:
        link.slow = 0.0

    world.loop.later(fault.seconds, quick)


def _double(world: "World", fault: Fault) -> None:
    link = world.net.link(fault.who)
    link.doubling = True

    def single() -> None:
        link.doubling = False

    world.loop.later(fault.seconds, single)


def _reset(world: "World", fault: Fault) -> None:
    world.net.link(fault.who).reset()


def _pause(world: "World", fault: Fault) -> None:
    who = None if fault.who == "all" else _peer(world, fault.who)
    nodes = world.nodes() if fault.who == "all" else [who.node] if who is not None else []
    for node in nodes:
        node.pause()
        world.loop.later(fault.seconds, node.resume)


def _database(world: "World", fault: Fault) -> None:
    world.database.mood = fault.what

    def fine() -> None:
        world.database.mood = FINE

    world.loop.later(fault.seconds, fine)


def _twin(world: "World", fault: Fault) -> None:
    world.start_twin(fault.who)


_FAULTS = {
    "kill": _kill, "stop": _stop, "drain": _drain, "crash": _crash, "crash_before": _crash_before,
    "crash_after": _crash_after, "worker": _worker, "zygote": _zygote, "block": _block, "slow": _slow,
    "double": _double, "reset": _reset, "pause": _pause, "full": _database, "tight": _database,
    "down": _database, "ambiguous": _database, "twin": _twin,
    "takeover": _take_over,
}  # fmt: skip
