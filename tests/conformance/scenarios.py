"""All scripts by name, and what is expected of a program beside the calls it makes."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from conformance import clients, polling, sessions, workers
from conformance.plane import Plane


@dataclass(frozen=True)
class Scenario:
    """A script."""

    script: Callable[[Plane], Awaitable[None]]
    serves: bool = False
    """A worker, which goes on until it is told to end, and may call more than the script listens to."""
    ends: bool = False
    """A worker that ends by itself, with code 0."""
    fails: bool = False
    """The program must end with another code than 0."""
    prints: tuple[str, ...] = ()
    """What must be at the end of a line of standard output, each exactly once."""
    one_line: bool = False
    """All that may be on standard error is one line."""

    @property
    def about(self) -> str:
        """What the program has to do, for people."""
        return (self.script.__doc__ or "").strip()


SCENARIOS = {
    "client-submit": Scenario(clients.submit, prints=("7",)),
    "client-failed": Scenario(clients.failed, fails=True),
    "client-refused": Scenario(clients.refused, fails=True),
    "client-overloaded": Scenario(clients.overloaded, prints=("7",)),
    "client-lost-answer": Scenario(clients.lost_answer, prints=("7",)),
    "client-watch": Scenario(clients.watch),
    "client-tail": Scenario(clients.tail, prints=("first line", "second line", "third line")),
    "client-cancel": Scenario(clients.cancel),
    "client-unauthenticated": Scenario(clients.unauthenticated, fails=True, one_line=True),
    "session-submit": Scenario(sessions.submit, prints=("7",)),
    "session-failed": Scenario(sessions.failed, fails=True),
    "session-refused": Scenario(sessions.refused, fails=True),
    "session-overloaded": Scenario(sessions.overloaded, prints=("7",)),
    "session-crowded": Scenario(sessions.crowded, prints=("7",)),
    "session-resume": Scenario(sessions.resume, prints=("7",)),
    "session-restart": Scenario(sessions.restart, prints=("7",)),
    "session-unauthenticated": Scenario(sessions.unauthenticated, fails=True, one_line=True),
    "worker-hello": Scenario(workers.hello, serves=True),
    "worker-chunk": Scenario(workers.chunk, serves=True),
    "worker-mixed": Scenario(workers.mixed, serves=True),
    "worker-inputs": Scenario(workers.inputs, serves=True),
    "worker-failure": Scenario(workers.failure, serves=True),
    "worker-unknown": Scenario(workers.unknown, serves=True),
    "worker-cancel": Scenario(workers.cancel, serves=True),
    "worker-timeout": Scenario(workers.timeout, serves=True),
    "worker-resume": Scenario(workers.resume, serves=True),
    "worker-drain": Scenario(workers.drain, serves=True, ends=True),
    "poll-chunk": Scenario(polling.poll, serves=True),
    "poll-lost-poll": Scenario(polling.lost_poll, serves=True),
    "poll-lost-report": Scenario(polling.lost_report, serves=True),
    "poll-forgotten": Scenario(polling.forgotten, serves=True),
    "poll-drain": Scenario(polling.drain, serves=True, ends=True),
}
