"""The network: connections as two first-in-first-out halves of bytes, and what can happen to them.

A `Link` is the way between one host and the server. It can be slow, dark in either direction, or hold back
everything behind a large frame, as a path does whose maximum packet size is wrong. What was sent into a
dark direction waits, as TCP repeats it, and arrives when the path is back, even if both ends have given up
by then. A handshake needs both directions, unless a proxy in between accepts for the server.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, Final

from simulation.loop import Node, SimulatedLoop

UP: Final = "up"
DOWN: Final = "down"
BIG_BYTES: Final = 4096
"""Frames beyond are held back by a path that lets no large packets through."""
KEEPALIVE_SECONDS: Final = 40.0
"""30 s until a ping, 10 s for its answer."""
TICK: Final = 1e-6
"""Between two arrivals: timers of one moment have no order."""
LONGEST_PAUSE: Final = 8.0
"""Between two attempts of TCP to get through, at most."""
DOUBLED_SECONDS: Final = 1.5
"""How much later a call may arrive that somebody in between makes again, at most."""
SYN_AGAIN: Final = (1.0, 2.0, 4.0, 8.0)


class Half:
    """One direction of a connection."""

    def __init__(self, link: "Link", way: str, deliver: Callable[[Any], None]) -> None:
        self._link = link
        self.way = way
        self._deliver = deliver
        self._queue: deque[tuple[float, int, Any]] = deque()
        self._last = 0.0
        self._armed = False
        self._dammed = False
        self._not_before = 0.0

    def send(self, size: int, item: Any) -> None:
        """Put something on its way."""
        link = self._link
        self._queue.append((link.loop.time() + link.delay(), size, item))
        self.pump()

    def pump(self) -> None:
        """Have the first of what waits arrive in time, if the path lets it through."""
        if self._armed or not self._queue or self._blocked():
            return
        self._armed = True
        loop = self._link.loop
        due = max(self._queue[0][0], self._last + TICK, self._not_before, loop.time())
        loop.call_at(due, self._arrive, context=loop.outside)

    def path_is_back(self, seconds: float) -> None:
        """Send again, when that is due: how long TCP waits doubles with each time it sends in vain."""
        if self._queue:
            self._not_before = self._link.loop.time() + seconds
            self.pump()

    def _blocked(self) -> bool:
        link = self._link
        if link.big and self._queue[0][1] > BIG_BYTES:
            self._dammed = True
        return link.dark[self.way] or (link.big and self._dammed)

    def _arrive(self) -> None:
        self._armed = False
        if not self._queue or self._blocked():
            return
        self._last = self._link.loop.time()
        _, _, item = self._queue.popleft()
        self._dammed = False
        self._deliver(item)
        self.pump()


class Link:
    """The way between a host and the server."""

    def __init__(self, loop: SimulatedLoop, host: str, seed: str) -> None:
        self.loop = loop
        self.host = host
        self._random = Random(f"{seed}/link/{host}")
        self.dark = {UP: False, DOWN: False}
        self.big = False
        self.slow = 0.0
        self.proxied = False
        self.doubling = False
        """Whether whatever is in between sends unary calls a second time."""
        self.troubled_since: float | None = None
        self.connections: list[Any] = []
        self._ports = 0

    def delay(self) -> float:
        """Draw how long a frame takes."""
        return self._random.uniform(0.0001, 0.002) + (self._random.uniform(0.2, 1.0) * self.slow)

    def doubles(self) -> float | None:
        """Return after how long a call arrives once more, None if it does not."""
        return self._random.uniform(0.0, DOUBLED_SECONDS) if self.doubling else None

    def address(self) -> str:
        """Return what the server sees of the next connection."""
        self._ports += 1
        return f"ipv4:{self.host}:{self._ports}"

    def block(self, way: str) -> None:
        """Let nothing through: `up`, `down`, `both`, or nothing `big`."""
        if way == "big":
            self.big = True
        for each in (UP, DOWN):
            if way in (each, "both"):
                self.dark[each] = True
        if self.troubled_since is None:
            self.troubled_since = self.loop.time()
        self.expect_silence()

    def expect_silence(self) -> None:
        """Give up connections in a while, if the path is not better by then."""
        self.loop.later(KEEPALIVE_SECONDS, self._keepalive, self.troubled_since)

    def unblock(self) -> None:
        """Let everything through again, what has waited first."""
        since = self.troubled_since
        dark_for = min(LONGEST_PAUSE, self.loop.time() - since) if since is not None else 0.0
        self.dark = {UP: False, DOWN: False}
        self.big = False
        self.troubled_since = None
        self.connections = [each for each in self.connections if not each.gone]
        for connection in self.connections:
            connection.up.path_is_back(self._random.uniform(0.0, dark_for))
            connection.down.path_is_back(self._random.uniform(0.0, dark_for))

    def reset(self) -> None:
        """Break all connections, as a router does that has forgotten them."""
        for connection in list(self.connections):
            connection.broken("the connection was reset")

    def leads_to(self, servers: list[Any]) -> bool:
        """Whether a connection leads to one of some servers."""
        return any(each.server in servers for each in self.connections if not each.gone)

    def open_to(self, both: bool = True) -> bool:
        """Whether a handshake gets through."""
        return not (self.dark[UP] or (both and self.dark[DOWN]))

    def _keepalive(self, since: float) -> None:
        if self.troubled_since != since:
            return
        silent_since = self.loop.time() - KEEPALIVE_SECONDS + TICK
        for connection in list(self.connections):
            if connection.opened_at <= silent_since:
                connection.broken("keepalive watchdog timeout")


class Network:
    """All links, and who listens at the server's address."""

    def __init__(self, loop: SimulatedLoop, seed: str) -> None:
        self.loop = loop
        self._seed = seed
        self.links: dict[str, Link] = {}
        self.listener: Any = None
        """The server that listens; None while none does."""
        self.observe: Callable[[str, str, bytes], None] = lambda address, way, data: None
        """Called with each frame that is sent: whose connection, which way."""
        self.watch: Callable[[Any, str, Any], None] = lambda connection, way, message: None
        """Called with each message: when it is sent upward, when it is read downward."""

    def link(self, host: str) -> Link:
        if host not in self.links:
            self.links[host] = Link(self.loop, host, self._seed)
        return self.links[host]

    def dial(self, node: Node, connection: Any) -> None:
        """Establish a connection, or say that it is refused."""
        link = self.link(host_of(node))
        connection.link = link
        link.connections.append(connection)
        self._try(link, connection, 0)

    def _try(self, link: Link, connection: Any, attempt: int) -> None:
        if connection.gone:
            return
        if link.proxied:
            self.loop.later(link.delay(), connection.established, None)
        elif link.open_to():
            self.loop.later(link.delay(), self._arrived, link, connection, attempt)
        else:
            wait = SYN_AGAIN[min(attempt, len(SYN_AGAIN) - 1)]
            self.loop.later(wait, self._try, link, connection, attempt + 1)

    def _arrived(self, link: Link, connection: Any, attempt: int) -> None:
        """Answer a request for a connection where the server is."""
        if not link.open_to():
            self._try(link, connection, attempt)
            return
        server = self.listener
        if server is None:
            self.loop.later(link.delay(), connection.broken, "connection refused")
        else:
            self.loop.later(link.delay(), connection.established, server)

    def died(self, node: Node) -> None:
        """Break what a killed process had open: its machine resets it, behind what had been sent."""
        for link in self.links.values():
            for connection in list(link.connections):
                connection.end_died(node)


def host_of(node: Node) -> str:
    """Return the name of the machine a process is on: that of what was started there."""
    return node.name.split("#")[0]


def settled(future: "asyncio.Future[None] | None") -> None:
    """Let go whoever waits."""
    if future is not None and not future.done():
        future.set_result(None)
