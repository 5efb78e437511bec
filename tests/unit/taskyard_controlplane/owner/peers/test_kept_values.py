"""Which agents have which large values, as far as an owner can tell."""

import pytest

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import common_pb2
from taskyard_controlplane.owner.peers import kept_values
from taskyard_controlplane.owner.peers.agent_session import AgentSession
from taskyard_controlplane.owner.peers.kept_values import LEAST_BYTES, MOST_KEEPERS, MOST_NEAR, KeptValues

MB = 1_000_000


def agent_named(name: str) -> AgentSession:
    return AgentSession(ap.AgentHello(agent_id=name, queues=["default"]), 0.0, 0)


def blob(name: str, size: int = MB) -> common_pb2.BlobRef:
    return common_pb2.BlobRef(name=name, size=size)


@pytest.fixture
def kept() -> KeptValues:
    return KeptValues()


@pytest.fixture
def agent(kept: KeptValues) -> AgentSession:
    agent = agent_named("a")
    kept.said(agent, 3 * MB)
    return agent


def test_an_agent_has_what_it_made_or_was_sent(kept: KeptValues, agent: AgentSession) -> None:
    kept.note(agent, [blob("x"), blob("y", 2 * MB)])
    values = [("x", MB), ("y", 2 * MB), ("z", MB)]
    assert kept.held(agent, values) == 3 * MB
    assert dict(kept.holders(values)) == {agent: 3 * MB}


def test_what_came_since_a_value_was_used_counts_against_it(kept: KeptValues, agent: AgentSession) -> None:
    for name in ("a", "b", "c"):
        kept.note(agent, [blob(name)])
    kept.note(agent, [blob("a")])
    kept.note(agent, [blob("d"), blob("e")])
    assert [kept.held(agent, [(name, MB)]) > 0 for name in "abcde"] == [True, False, True, True, True]
    kept.note(agent, [blob("b")])
    assert kept.held(agent, [("b", MB)]), "it was fetched again"


def test_what_is_larger_than_all_it_keeps_or_small_or_has_no_name_is_not_noted(
    kept: KeptValues, agent: AgentSession
) -> None:
    kept.note(agent, [blob("large", 4 * MB), blob("small", LEAST_BYTES - 1), blob("", MB)])
    assert not kept._where


def test_who_leaves_has_nothing(kept: KeptValues, agent: AgentSession) -> None:
    other = agent_named("b")
    kept.said(other, 3 * MB)
    for each in (agent, other):
        kept.note(each, [blob("x")])
    kept.leave(agent)
    assert dict(kept.holders([("x", MB)])) == {other: MB}
    assert kept.any
    kept.leave(other)
    assert not kept.any
    assert not kept._where


def test_who_sees_the_store_has_everything(kept: KeptValues, agent: AgentSession) -> None:
    near = agent_named("near")
    kept.said(near, 0)
    kept.note(agent, [blob("x")])
    assert dict(kept.holders([("x", MB), ("y", MB)])) == {near: 2 * MB, agent: MB}
    kept.said(agent, 0)
    assert not kept.any, "it sees the store after all"


def test_few_are_remembered_and_few_looked_at(kept: KeptValues, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_values, "MOST_NAMES", 3)
    agents = [agent_named(str(number)) for number in range(2 * MOST_KEEPERS)]
    for each in agents:
        kept.said(each, 100 * MB)
        kept.note(each, [blob("popular")])
    assert [each for each, _ in kept.holders([("popular", MB)])] == agents[MOST_KEEPERS:]
    for number in range(3):
        kept.note(agents[0], [blob(str(number))])
    assert list(kept._where) == ["0", "1", "2"]
    for number in range(2 * MOST_NEAR):
        kept.said(agent_named(f"near {number}"), 0)
    assert len(list(kept.holders([]))) == MOST_NEAR
