"""What live sessions of clients and agents have in common: a stream that comes and goes, and a name.

A peer outlives its stream for the length of its lease, so that whoever reconnects finds what was his. Streams
are told apart by the identity of their `wake`: the end of an old one must not detach the new one.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from taskyard_contract.errors import StreamReplaced, TaskyardError

Wake = Callable[[], None]
Close = Callable[[TaskyardError], None]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is at the other end of a stream or call, as far as the transport knows."""

    address: str = ""
    """Where it calls from, in gRPC's words; an identity joins it with authentication."""

    @property
    def host(self) -> str:
        """The address without what tells apart the connections from one machine."""
        return host_of(self.address)


def host_of(address: str) -> str:
    """Return an address in gRPC's words without its port; whoever calls through a socket file is one host."""
    kind = address.partition(":")[0]
    return address.rpartition(":")[0] if kind in ("ipv4", "ipv6") else kind


NOBODY: Final = Caller()


def _nobody() -> None:
    """Stands for the stream that is not there."""


class Peer:
    """Somebody who connects, is told things in frames, and may come back."""

    def __init__(self, name: str) -> None:
        """Know somebody by `name` who is not connected yet."""
        self.name = name
        self.caller = Caller()
        self.wake: Wake = _nobody
        self.close: Close | None = None
        self.durable_up_to = 0
        """The number up to which what it sent is durable, or needs to be sent no more."""
        self._said_up_to = 0
        self._reconnect_after_ms = 0
        self._stream_number = 0
        self.unsettled_bytes = 0
        """What was read from it and is not durable yet. Kept by the intake, as are the next."""
        self.unsettled_batches = 0
        self.unsettled_runs = 0
        self.held_up: asyncio.Future[None] | None = None
        """What its stream waits for before more is read from it."""

    @property
    def listens(self) -> bool:
        """Whether it takes in what it is told. Who does not is not read either."""
        return True

    def go_on(self) -> None:
        """Let its stream see whether it may be read again."""
        if self.held_up is not None and not self.held_up.done():
            self.held_up.set_result(None)

    @property
    def connected(self) -> bool:
        """Whether a stream is attached."""
        return self.close is not None

    def attach(self, wake: Wake, close: Close, caller: Caller = NOBODY) -> None:
        """Attach a stream, on which nothing has been said yet: acknowledgements are said again, because the
        last ones may have been lost with the stream before.
        """
        self.wake, self.close, self.caller = wake, close, caller
        self._said_up_to = 0

    def detach(self) -> None:
        """Note that the stream is gone; the lease goes on."""
        self.wake, self.close = _nobody, None

    def end_stream(self, error: TaskyardError) -> None:
        """End the stream, if there is one, and say why."""
        if self.close is not None:
            self.close(error)

    def replace_stream(self, number: int) -> None:
        """End the stream, if there is one, because a newer one of the same process takes its place.

        Streams that are opened one after the other may arrive in another order, over proxies above all: the
        number that their opener counts says which is newer. One of 0 is from a release that did not count.

        Raises:
            StreamReplaced: The other one is the newer one, and stays.
        """
        if 0 < number < self._stream_number:
            raise StreamReplaced(f"stream {number} of {self.name} came after stream {self._stream_number}")
        self._stream_number = number
        self.end_stream(StreamReplaced(f"a newer stream of {self.name} has taken the place of this one"))

    def acknowledge(self, number: int) -> None:
        """Say, with the next frame, that what it sent up to `number` is durable."""
        self.durable_up_to = max(self.durable_up_to, number)

    def written(self) -> None:
        """Note that the frame returned last is out of this process's hands."""

    @property
    def unsaid(self) -> int:
        """How many of its frames are durable without its knowing."""
        return self.durable_up_to - self._said_up_to

    def reconnect(self, after_ms: int) -> None:
        """Ask it to come back later, because this server stops."""
        self._reconnect_after_ms = after_ms
        self.wake()
