"""Makes the plan of a failing play smaller, for as long as it breaks the same rule."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Final

from simulation.checker import check
from simulation.plan import Plan
from simulation.world import play

MOST_PLAYS: Final = 150
_CACHE: Final[dict[str, object]] = {"keys": 1, "late": False, "refresh": False, "expires": 0.0}


def breaks(seed: str, plan: Plan, rule: str) -> bool:
    """Whether a play breaks a rule."""
    return any(violation.rule == rule for violation in check(play(seed, plan)[0]))


def shrink(seed: str, plan: Plan, rule: str, say: Callable[[str], None] = lambda text: None) -> Plan:
    """Return a smaller plan that breaks `rule` as well; the same one if every smaller one does not."""
    plays, smaller = 0, True
    while smaller:
        smaller = False
        for candidate in _smaller(plan):
            plays += 1
            if plays > MOST_PLAYS:
                return plan
            if breaks(seed, candidate, rule):
                plan, smaller = candidate, True
                say(f"{plays} plays: {len(plan.faults)} faults, {len(plan.jobs)} jobs")
                break
    return plan


def _smaller(plan: Plan) -> Iterator[Plan]:
    """Return plans with one thing less, the largest first."""
    for place in range(len(plan.faults)):
        yield _without_fault(plan, place)
    for place in reversed(range(len(plan.jobs))):
        yield _without_job(plan, place)
    last_agent, last_client = len(plan.agents) - 1, plan.clients - 1
    if last_agent and not any(fault.who == f"a{last_agent}" for fault in plan.faults):
        yield _changed(plan, agents=plan.agents[:-1])
    if last_client and not any(job.client == last_client for job in plan.jobs):
        yield _changed(plan, clients=last_client)
    for name, usual in (
        ("window", 0),
        ("proxied", False),
        ("waiting", 200),
        ("log_bytes", 0),
        ("polled", []),
    ):
        if getattr(plan, name) != usual:
            yield _changed(plan, **{name: usual})
    yield from _simpler_jobs(plan)


def _simpler_jobs(plan: Plan) -> Iterator[Plan]:
    for place, job in enumerate(plan.jobs):
        changes: list[dict[str, object]] = []
        if job.count > 1:
            changes += [{"count": 1}, {"count": job.count // 2}]
        if job.after >= 0:
            changes.append({"after": -1})
        if job.cancel_after >= 0:
            changes.append({"cancel_after": -1.0})
        if job.key:
            changes += [{"key": "", "keys": 1, "late": False, "refresh": False, "expires": 0.0}]
            changes += [{name: usual} for name, usual in _CACHE.items() if getattr(job, name) != usual]
        if job.logs:
            changes += [{"logs": 0}, {"logs": job.logs // 2}]
        if job.depth:
            changes += [{"depth": 0}, {"depth": job.depth - 1}, {"width": 1}]
            changes += [{name: False} for name in ("in_turn", "hasty") if getattr(job, name)]
        if job.kind != "tasks":
            changes.append({"kind": "tasks"})
        if job.again:
            changes.append({"again": ""})
        if job.fails:
            changes.append({"fails": 0, "retries": 0})
        for change in changes:
            smaller = deepcopy(plan)
            for name, value in change.items():
                setattr(smaller.jobs[place], name, value)
            yield smaller


def _without_fault(plan: Plan, place: int) -> Plan:
    smaller = deepcopy(plan)
    del smaller.faults[place]
    return smaller


def _without_job(plan: Plan, place: int) -> Plan:
    smaller = deepcopy(plan)
    del smaller.jobs[place]
    for job in smaller.jobs:
        if job.after == place:
            job.after = -1
        elif job.after > place:
            job.after -= 1
    return smaller


def _changed(plan: Plan, **changes: object) -> Plan:
    smaller = deepcopy(plan)
    for name, value in changes.items():
        setattr(smaller, name, value)
    return smaller
