"""When and where to connect again: what the streams of sessions and of agents have in common. Pure.

A stream is opened, welcomed and some time later lost; or it never gets that far. After each end whoever
drives it asks here what to do, and there are three answers:

- never again, after errors that the next attempt would only meet again: the server does not speak the
  protocol, takes the hello for malformed, has given the session's place to a newer one, keeps the agent's
  name for another process that is alive, or does not let this peer in;
- at once, at another address, when the server named the owner. That address is good for one attempt: if the
  owner has gone too, the address that people configured leads to whoever knows the next one. Two replicas
  that name each other must not be asked in a circle without a pause;
- after a pause at the configured address. Its length is drawn between nothing and a bound that doubles with
  each failure ("full jitter"): after a server's restart a thousand peers must not come back in the same
  moment, and the first of them shall come soon. A server that says when it is back is given that time before,
  and since it says the same to all of them, they come back over as long a time again.

A stream that has worked for a while makes the next failure the first one. One that was welcomed and lost
at once does not: otherwise a server that falls over each time it is asked would be asked ten times a second.
"""

import random
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from taskyard_contract.errors import (
    AgentExists,
    ConnectionFailed,
    InvalidRequest,
    NamespaceNotFound,
    NotOwner,
    PermissionDenied,
    Superseded,
    TaskyardError,
    Unauthenticated,
    UnsupportedProtocol,
)

FATAL: Final = (
    AgentExists,
    InvalidRequest,
    NamespaceNotFound,
    PermissionDenied,
    Superseded,
    Unauthenticated,
    UnsupportedProtocol,
)
"""Unless the server says when to ask again."""
FIRST_DELAY: Final = 0.1
"""A server that was restarted is back within some tenths of a second; most losses end here."""
LONGEST_DELAY: Final = 3.0
"""Far below a lease of 30 s, so that a peer makes many attempts before it loses what it holds."""
WORKING_SECONDS: Final = 1.0
"""A stream that lasted longer had been working."""
MOST_REDIRECTS: Final = 3
"""In a row, without a pause between them."""


class Retry(NamedTuple):
    """When and where to connect next."""

    delay: float
    """Seconds to wait before it."""
    address: str
    """Where to connect; "" for the configured address."""
    failures: int
    """How many attempts have failed in a row, 1 for a stream that was lost; redirects do not count."""


class Reconnecting:
    """The attempts of one peer, one after the other."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Prepare the first attempt.

        Args:
            clock: Returns seconds that never jump.
            draw: Draws a number between two bounds.
        """
        self._clock = clock
        self._draw = draw
        self._failures = 0
        self._redirects = 0
        self._welcomed_at: float | None = None

    def welcomed(self) -> None:
        """Take in that a stream works."""
        self._welcomed_at = self._clock()
        self._redirects = 0

    def failed(self, error: TaskyardError) -> Retry | None:
        """Take in that an attempt, or a stream, has ended; returns what comes next, None for nothing."""
        if isinstance(error, FATAL) and not error.retry_after:
            return None
        since, self._welcomed_at = self._welcomed_at, None
        if since is not None and self._clock() - since >= WORKING_SECONDS:
            self._failures = 0
        if isinstance(error, NotOwner) and error.address and self._redirects < MOST_REDIRECTS:
            self._redirects += 1
            return Retry(0.0, error.address, self._failures)
        self._redirects = 0
        self._failures += 1
        bound = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(self._failures - 1, 16))
        # Where nobody was reached nobody said how long to wait: that number is for callers without a policy.
        asked = 0.0 if isinstance(error, ConnectionFailed) else error.retry_after
        return Retry(asked + self._draw(0.0, max(bound, asked)), "", self._failures)
