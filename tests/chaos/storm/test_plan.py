"""Plans are drawn from a seed, and from nothing else."""

from collections import Counter

import pytest
from chaos.storm.plan import AGENT_LEASE, LONGER, SESSION_LEASE, Plan, plan_of

MANY = 2_000


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def plan(request: pytest.FixtureRequest) -> Plan:
    return plan_of(7, request.param, MANY)


def test_the_same_seed_gives_the_same_plan(plan: Plan):
    assert plan_of(7, plan.database, MANY) == plan
    assert plan_of(8, plan.database, MANY) != plan


def test_a_plan_has_as_many_acts_as_were_asked_for_in_order_of_time(plan: Plan):
    assert len(plan.acts) == MANY
    assert [act.at for act in plan.acts] == sorted(act.at for act in plan.acts)


def test_everything_is_hit_in_every_way(plan: Plan):
    hit = Counter((act.verb, act.target) for act in plan.acts)
    always = {"server", "agent", "client", "worker", "zygote", "everything"}
    own = {"database"} if plan.database == "postgresql" else set()
    assert {target for _, target in hit} == always | own
    assert {verb for verb, _ in hit} == {"kill", "stop", "freeze", "strike"}
    assert {verb for verb, target in hit if target == "server"} == {"kill", "stop", "freeze", "strike"}
    assert min(hit.values()) > MANY / 500


def test_some_are_away_for_longer_than_their_lease_and_most_are_not(plan: Plan):
    for target, lease in (("server", AGENT_LEASE), ("agent", AGENT_LEASE), ("client", SESSION_LEASE)):
        seconds = [act.seconds for act in plan.acts if act.target == target]
        longer = sum(each > lease for each in seconds)
        assert 0.05 * len(seconds) < longer < 0.6 * len(seconds)
        assert max(seconds) <= LONGER[1] * lease


def test_some_are_hit_while_they_start_and_some_right_after_others(plan: Plan):
    early = sum(act.after < 0 for act in plan.acts)
    assert 0.1 * MANY < early < 0.4 * MANY
    together = sum(later.at - act.at < 0.3 for act, later in zip(plan.acts, plan.acts[1:], strict=False))
    assert 0.2 * MANY < together < 0.6 * MANY
