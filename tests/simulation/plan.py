"""What is played: who there is, what they do, and what goes wrong when. JSON there and back.

A fault takes draws from nobody else, so that one can be left out without changing the rest: every source of
chance in the world has a generator of its own.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Final

REFUSAL_SECONDS: Final = 12.0
"""What it takes until a run is refused that waits, when too many do."""


@dataclass
class Work:
    """What a run does, and what its template says."""

    task: str = "task"
    ms: float = 10.0
    fails: int = 0
    """How many of its attempts fail before one succeeds."""
    retries: int = 0
    retry_delay: float = 0.1
    infra: int = 3
    timeout: float = 0.0
    depth: int = 0
    """How many levels of runs it calls and waits for: each of them the same, with one level less."""
    width: int = 1
    """How many runs a run calls."""
    in_turn: bool = False
    """Whether one is called after the other, each when the one before has ended."""
    hasty: bool = False
    """Whether attempts that fail do so without waiting for what they have called."""

    key: str = ""
    """What its cache key begins with; without one there is none."""
    keys: int = 1
    """How many different keys the runs of a job have."""
    late: bool = False
    """Whether only its worker can tell the key."""
    refresh: bool = False
    """Whether it ignores what the cache has, and replaces it."""
    expires: float = 0.0
    """Seconds for which its result is used; 0 for ever."""

    logs: int = 0
    """How many log records each execution writes."""

    def cache_key(self, ordinal: int) -> str:
        """Return the key of one of its runs: never that of a run which waits for it."""
        return f"{self.key}/{self.depth}/{ordinal % self.keys}" if self.key else ""

    def calls(self) -> int:
        """Return how many runs one run calls, and those call, and so on."""
        return sum(self.width**level for level in range(1, self.depth + 1))

    def called(self) -> "Work":
        """Return what the runs do that it calls."""
        return Work(**{**self.script(), "depth": self.depth - 1})

    def script(self) -> dict[str, Any]:
        """Return it as the arguments of a run."""
        return {name: getattr(self, name) for name, usual in _WORK.items() if getattr(self, name) != usual}


_WORK = asdict(Work())


@dataclass
class Job(Work):
    """Something a client does."""

    client: int = 0
    at: float = 1.0
    kind: str = "tasks"
    """`tasks`; `flow`: the same inside a flow run; `unowned`: submitted by calls, they belong to nobody."""
    count: int = 1
    after: int = -1
    """The job whose runs are upstream of these."""
    cancel_after: float = -1.0
    """Seconds after which their end is requested; negative for never."""
    cancel: str = "all"
    """`all`, `half`, `withdraw`, or `owner`: each by a unary call."""
    pause: float = 0.0
    """Of a flow, before it submits."""
    awaits: bool = True
    """Whether a flow waits for its runs; whether the client subscribes to unowned ones, and does not call."""
    undone: str = ""
    """Whether there are runs for a flow that undo what its runs did, in the reverse order, if it does not
    complete: `lost`, perhaps; or `failed`, as it does then."""
    again: str = ""
    """Unowned runs are submitted again under their ids: `equal`, or with `other` arguments, once they are
    acknowledged, and `pause` later; or at the same time, `twice` or with a `rival`."""


@dataclass
class Fault:
    """Something that goes wrong.

    `kill`, `stop` and `drain` end a process, which comes back after `seconds`. `crash` kills the server
    `count` callbacks later, `crash_before` and `crash_after` at the commit that is then the next but `count`.
    `block` (`way`: up, down, both, big), `slow` (by `amount`) and `pause` last for `seconds`; `reset` breaks
    connections. During a `double` unary calls arrive a second time, later. `worker` kills a worker, `zygote`
    all of an agent, with what starts them; `twin` starts a second process of an agent. `full`, `tight`,
    `down` and `ambiguous` are moods of the database. At a `takeover` another server becomes the owner; the
    former one goes on, after a `pause`, or `cut` off from the database for as long, or (`both`) at once.
    """

    at: float
    what: str
    who: str = "server"
    seconds: float = 1.0
    way: str = "both"
    count: int = 0
    amount: float = 0.0


@dataclass
class Plan:
    """A whole play."""

    lease: float = 10.0
    heartbeat: float = 2.0
    window: int = 0
    """Of the backlog; 0 for the product's."""
    agents: list[int] = field(default_factory=lambda: [2])
    """Slots of each."""
    polled: list[int] = field(default_factory=list)
    """Which of them have no stream, but poll."""
    waiting: int = 200
    """How many runs may wait for others on an agent and have substitutes."""
    log_bytes: int = 0
    """Of log records that agents and sessions keep; 0 for the product's ceilings."""
    clients: int = 1
    proxied: bool = False
    jobs: list[Job] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def work(self) -> float:
        """Return how many seconds all runs would take one after the other, retries included."""
        return sum(
            job.count
            * (1 + job.calls())
            * (job.ms / 1000 + job.retry_delay)
            * (1 + job.fails) ** (1 + job.depth)
            for job in self.jobs
        )

    def patience(self) -> float:
        """Return how many seconds pass at most until everything has ended that nothing disturbs."""
        callers = sum(job.count * (1 + job.calls()) for job in self.jobs if job.depth)
        refusals = callers * REFUSAL_SECONDS if callers > self.waiting else 0.0
        return 60.0 + 3 * self.lease + 2 * self.work() + refusals

    def to_json(self) -> str:
        bare = Job(), Fault(0.0, ""), Plan()
        data = {name: value for name, value in asdict(self).items() if name not in ("jobs", "faults")}
        data["jobs"] = [_changed(asdict(job), asdict(bare[0])) for job in self.jobs]
        data["faults"] = [_changed(asdict(fault), asdict(bare[1])) for fault in self.faults]
        return json.dumps(data, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        data = json.loads(text)
        data.pop("about", None)
        data["jobs"] = [Job(**job) for job in data.get("jobs", [])]
        data["faults"] = [Fault(**fault) for fault in data.get("faults", [])]
        return cls(**data)


def _changed(data: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if value != usual[name]}
