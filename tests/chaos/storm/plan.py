"""What happens in a storm: acts, drawn from a seed. Pure.

Invariant: the same seed, database and number of acts give the same plan. What it hits is not the same each
time: real processes need real time, so an act meets each of them at another moment.
"""

from collections.abc import Mapping
from random import Random
from typing import Final, NamedTuple

AGENT_LEASE: Final = 4.0
"""Short, so that leases lapse in every storm; longer than the pauses between attempts to reconnect (3 s)."""
SESSION_LEASE: Final = 6.0
LONGER: Final = (1.3, 1.8)
"""Of a lease: so long somebody is away who is to be given up."""
MEAN_GAP: Final = 2.4
"""Seconds from one act to the next, those of a burst aside."""
BURST: Final = 0.25
"""How often an act comes right behind the one before."""
EARLY: Final = 0.2
"""How often one may hit who is still starting."""
MEAN_READY: Final = 1.5
"""Seconds for which others have been ready before. Acts wait for targets that are away; if they hit each as
soon as it is back, a busy machine would do nothing but start processes."""
STRIKE_SECONDS: Final = 0.05
"""A server that is struck dies so long after the start of a long run, at most."""


class Act(NamedTuple):
    """Something that is done to a process."""

    at: float
    """Seconds after the storm has begun. It waits for its target, if that is away just then."""
    verb: str
    """``kill``: SIGKILL; ``stop``: SIGTERM, or what a database takes for it; ``freeze``: SIGSTOP, and SIGCONT
    after `seconds`; ``strike``: SIGKILL right after a long run has started."""
    target: str
    """``server``, ``agent``, ``worker``, ``zygote``, ``client``, ``database``, ``everything``."""
    seconds: float
    """For how long the target is away, or stands still."""
    pick: float
    """Which one of several, from 0 to 1."""
    after: float = 0.0
    """For so long the target has been ready before; a negative number: it may still be starting."""

    def __str__(self) -> str:
        return f"{self.verb} {self.target} for {self.seconds:.2f} s"


class Plan(NamedTuple):
    """A storm, as it is drawn."""

    seed: int
    database: str
    acts: tuple[Act, ...]
    agents: int
    slots: int
    clients: int


_ALWAYS: Final[Mapping[tuple[str, str], float]] = {
    ("kill", "server"): 3.0,
    ("strike", "server"): 1.0,
    ("stop", "server"): 1.0,
    ("freeze", "server"): 1.0,
    ("kill", "agent"): 3.0,
    ("stop", "agent"): 1.0,
    ("freeze", "agent"): 2.0,
    ("kill", "worker"): 5.0,
    ("freeze", "worker"): 1.0,
    ("kill", "zygote"): 2.0,
    ("freeze", "zygote"): 0.5,
    ("kill", "client"): 1.5,
    ("stop", "client"): 0.5,
    ("freeze", "client"): 1.0,
    ("freeze", "everything"): 0.4,
}
"""What is done, and how often in proportion."""
_TO_POSTGRESQL: Final[Mapping[tuple[str, str], float]] = {
    ("kill", "database"): 2.0,
    ("stop", "database"): 1.0,
    ("freeze", "database"): 1.0,
}


def plan_of(seed: int, database: str, acts: int) -> Plan:
    """Draw a storm.

    Args:
        seed: Whence all chance comes.
        database: "sqlite" or "postgresql".
        acts: How many.
    """
    draw = Random(f"{seed} {database}")
    weights = dict(_ALWAYS) | (_TO_POSTGRESQL if database == "postgresql" else {})
    agents, clients = draw.choice((2, 2, 3)), draw.choice((2, 3))
    return Plan(seed, database, tuple(_acts(draw, weights, acts)), agents, draw.choice((2, 2, 3)), clients)


def _acts(draw: Random, weights: Mapping[tuple[str, str], float], count: int) -> list[Act]:
    acts: list[Act] = []
    at = draw.uniform(0.5, 2.0)
    for verb, target in draw.choices(list(weights), list(weights.values()), k=count):
        after = -1.0 if draw.random() < EARLY else draw.expovariate(1 / MEAN_READY)
        acts.append(Act(at, verb, target, _seconds(draw, verb, target), draw.random(), after))
        at += draw.uniform(0.0, 0.3) if draw.random() < BURST else draw.expovariate(1 / MEAN_GAP)
    return acts


def _seconds(draw: Random, verb: str, target: str) -> float:
    lease = SESSION_LEASE if target == "client" else AGENT_LEASE
    longer = lease * draw.uniform(*LONGER)
    if verb == "strike" or target == "everything":
        return longer
    if target == "worker":
        return draw.uniform(0.1, 2.0)
    often_longer = 0.5 if verb == "freeze" else 0.2 if target == "server" else 0.1
    return longer if draw.random() < often_longer else draw.uniform(0.0, 1.0)
