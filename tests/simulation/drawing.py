"""Draws plans from seeds."""

from random import Random
from typing import Any, Final

from simulation.plan import Fault, Job, Plan

SERVER_FAULTS: Final = ("kill", "kill", "crash", "crash_before", "crash_after", "stop")
PEER_FAULTS: Final = ("kill", "kill", "block", "block", "reset", "slow", "pause", "worker", "zygote")
DATABASE_FAULTS: Final = ("full", "tight", "down", "ambiguous")
AIMED: Final = 0.4
"""Of faults, how many are put close to the beginning of a job: most of what can go wrong goes wrong there."""
EXTENDED: Final = 100_000
"""Seeds from here on draw what is rarer: twins, drains, proxies, cancellations by calls."""


class _Dice:
    """Draws for plans."""

    def __init__(self, seed: int) -> None:
        self.random = Random(f"{seed}/plan")
        self.extended = seed >= EXTENDED
        self.nested, self.cached = self.chance(0.25), self.chance(0.25)
        self.logging = self.chance(0.2)
        self.calling, self.polling = self.chance(0.25), self.chance(0.25)

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def near(self, *choices: Any) -> Any:
        return self.random.choice(choices)

    def time(self, low: float, high: float) -> float:
        return round(self.random.uniform(low, high), 3)

    def log(self, low: float, high: float) -> float:
        """Draw so that small ones are as likely as large ones."""
        return round(float(low * (high / low) ** self.random.random()), 3)


def plan_of(seed: int) -> Plan:
    """Draw a plan."""
    dice = _Dice(seed)
    plan = Plan(
        lease=dice.near(5.0, 10.0, 10.0, 30.0),
        window=dice.near(0, 0, 4),
        agents=[dice.near(1, 2, 2, 4) for _ in range(dice.near(1, 1, 2, 2, 3))],
        waiting=dice.near(200, 200, 4, 2),
        log_bytes=dice.near(0, 0, 2_000) if dice.logging else 0,
        clients=dice.near(1, 1, 2),
        proxied=dice.extended and dice.chance(0.5),
    )
    if dice.polling:
        plan.polled = [number for number in range(len(plan.agents)) if dice.chance(0.7)]
    plan.heartbeat = plan.lease / 5
    span = dice.log(3.0, 25.0)
    for number in range(dice.near(1, 2, 2, 3, 4, 5, 6)):
        plan.jobs.append(_job(dice, plan, number, span))
    for _ in range(dice.near(1, 1, 2, 2, 3, 4, 5)):
        fault = _fault(dice, plan, span)
        if dice.chance(AIMED):
            fault.at = round(dice.random.choice(plan.jobs).at + dice.log(0.001, 0.5) - 0.005, 4)
            if fault.what == "kill" and dice.chance(0.5):  # away for so long that what it knew is given up
                fault.seconds = round(plan.lease * dice.time(1.05, 1.8), 3)
        plan.faults.append(fault)
    plan.jobs.sort(key=lambda job: job.at)
    for number, job in enumerate(plan.jobs):
        earlier = [at for at, other in enumerate(plan.jobs[:number]) if other.client == job.client]
        if earlier and dice.chance(0.35):
            job.after = dice.random.choice(earlier)
    return plan


def _job(dice: _Dice, plan: Plan, number: int, span: float) -> Job:
    ms = dice.log(1.0, 25_000.0 if dice.chance(0.2) else 2_000.0)
    job = Job(
        client=dice.random.randrange(plan.clients),
        at=dice.time(0.2, span),
        kind=dice.near("tasks", "tasks", "tasks", "flow"),
        task=f"task{number % 3}",
        count=int(dice.log(1, 40)) if ms < 500 else dice.near(1, 2, 4),
        ms=ms,
        infra=3,
    )
    if dice.chance(0.25):
        job.fails, job.retries = dice.near(1, 1, 2, 3), dice.near(1, 1, 2)
        job.retry_delay = dice.near(0.0, 0.1, 0.5, 2.0)
        job.task += f"-{job.retries}-{job.retry_delay}"
    if dice.chance(0.2):
        job.cancel_after = dice.log(0.005, 5.0)
        job.cancel = dice.near("all", "half", "withdraw", *(["owner", "owner"] if dice.extended else []))
    if dice.nested and dice.chance(0.5):
        _nest(dice, job)
    if dice.logging and dice.chance(0.6):
        job.logs = dice.near(1, 3, 20, 20, 300) if job.count < 8 else dice.near(1, 3)
    if dice.cached and dice.chance(0.6):
        _cache(dice, job)
    if dice.calling and job.kind == "tasks" and dice.chance(0.7):
        _call(dice, job)
    if job.kind == "flow":
        job.awaits, job.pause = dice.chance(0.8), dice.near(0.0, 0.005, 0.02, 0.5)
        job.undone = dice.near("", "", "lost", "failed") if dice.extended else ""
    return job


def _nest(dice: _Dice, job: Job) -> None:
    """Let the runs of a job call others."""
    job.depth = dice.near(1, 1, 2, 3) if not job.fails else 1
    job.width = dice.near(1, 2, 3) if job.depth < 3 else dice.near(1, 2)
    job.count = max(1, min(job.count, 24 // (1 + job.calls())))
    job.ms = min(job.ms, 2_000.0)
    job.in_turn, job.hasty = dice.chance(0.3), dice.chance(0.5)


def _call(dice: _Dice, job: Job) -> None:
    """Submit the runs of a job by calls, perhaps more than once."""
    job.kind, job.awaits = "unowned", dice.chance(0.5)
    job.again = dice.near("", "", "equal", "other", "twice", "rival")
    job.pause = dice.log(0.01, 8.0)
    if job.cancel != "half":
        job.cancel = "all"


def _cache(dice: _Dice, job: Job) -> None:
    """Give the runs of a job cache keys; other jobs have the same ones."""
    job.key, job.keys = dice.near("k", "k", "l"), dice.near(1, 2, 5)
    job.late, job.refresh = dice.chance(0.4), dice.chance(0.15)
    job.expires = dice.near(0.0, 0.0, 0.5, 5.0)


def _fault(dice: _Dice, plan: Plan, span: float) -> Fault:
    at = dice.time(0.1, span + 3.0)
    kind = dice.random.random()
    if kind < 0.35:
        return _server_fault(dice, at)
    if kind < 0.5:
        return Fault(at, dice.near(*DATABASE_FAULTS), seconds=dice.log(0.05, 8.0))
    if kind < 0.58:
        return Fault(at, "pause", "all", seconds=dice.log(0.5, 3.0 * plan.lease))
    if (dice.calling or dice.polling) and kind < 0.64:
        peers = [f"a{number}" for number in plan.polled] or [f"c{n}" for n in range(plan.clients)]
        return Fault(at, "double", dice.random.choice(peers), seconds=dice.log(0.5, 10.0))
    if dice.extended and kind < 0.7:
        agent = f"a{dice.random.randrange(len(plan.agents))}"
        return Fault(at, dice.near("twin", "drain"), agent, seconds=dice.log(0.2, 5.0))
    return _peer_fault(dice, plan, at)


def _server_fault(dice: _Dice, at: float) -> Fault:
    if dice.extended and dice.chance(0.25):
        way = dice.near("pause", "pause", "cut", "both")
        return Fault(at, "takeover", seconds=dice.log(0.2, 40.0), way=way)
    what = dice.near(*SERVER_FAULTS, "pause", "pause")
    fault = Fault(at, what, "server", seconds=dice.log(0.2, 20.0))
    if what == "crash":
        fault.count = int(dice.log(1, 300))
    elif what.startswith("crash_"):
        fault.count = int(dice.log(1, 20))
    return fault


def _peer_fault(dice: _Dice, plan: Plan, at: float) -> Fault:
    peers = [f"a{number}" for number in range(len(plan.agents))] * 2 + [f"c{n}" for n in range(plan.clients)]
    who, what = dice.random.choice(peers), dice.near(*PEER_FAULTS)
    if what in ("worker", "zygote") and who.startswith("c"):
        what = "reset"
    fault = Fault(at, what, who, seconds=dice.log(0.1, 2.5 * plan.lease))
    if what == "block":
        fault.way = dice.near("up", "down", "both", "big")
    elif what == "slow":
        fault.amount = dice.log(0.01, 8.0)
    return fault
