"""However many wait for one run: they hear of its end in order, and memory holds a part of what follows."""

from typing import Any

import pytest
from support.owner_harness import Agent, World, assigned, play

from taskyard_contract.states import ReportKind, RunState
from taskyard_controlplane.owner.queueing import parking
from taskyard_controlplane.owner.rules import upstream

S = RunState
MANY = 9


def ends_of_commits(it: World) -> list[int]:
    """Return a list that grows by how many ends are in each commit from here on."""
    commit, ends = it.store.commit, list[int]()

    def counted(batch: Any) -> Any:
        ends.append(len(batch.ended))
        return commit(batch)

    it.store.commit = counted  # type: ignore[method-assign]
    return ends


async def executed(it: World, agent: Agent) -> list[bytes]:
    """Let an agent execute all that there is; returns it in order."""
    done = list[bytes]()
    while new := await assigned(it, agent):
        done += new
        agent.report(new)
        await it.settle()
    return done


@pytest.mark.parametrize("waiting", [4, 5, MANY])
def test_those_that_cannot_go_on_end_in_parts(waiting: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "TOLD_AT_ONCE", 4)

    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [up] = await client.submit()
        ids = await client.submit(waiting, upstream=[(position, up) for position in range(waiting)])
        await assigned(it, agent)
        ends = ends_of_commits(it)
        agent.report([up], kind=ReportKind.FAILED)
        await it.settle()
        client.receive()
        assert {client.state_of(run_id) for run_id in ids} == {S.NOT_READY}
        assert sum(ends) == 1 + waiting
        assert max(ends) == 4
        assert [run_id for run_id in client.outcomes if run_id in ids] == ids
        assert not any(it.shard.kept().values())

    play(scenario)


def test_those_that_can_go_on_do_so_in_the_order_in_which_they_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "TOLD_AT_ONCE", 2)

    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(chunk=1)
        [up] = await client.submit()
        ids = await client.submit(MANY, upstream=[(position, up) for position in range(MANY)])
        assert await executed(it, agent) == [up, *ids]
        assert not any(it.shard.kept().values())

    play(scenario)


def test_those_that_end_otherwise_before_it_is_their_turn_stay_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "TOLD_AT_ONCE", 1)

    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [up] = await client.submit()
        ids = await client.submit(MANY, upstream=[(position, up) for position in range(MANY)])
        await assigned(it, agent)
        agent.report([up], kind=ReportKind.FAILED)
        await client.send(cancel=ids[-2:])
        await it.settle()
        assert [(await it.history(run_id))[-1] for run_id in ids[-3:]] == [S.NOT_READY, *[S.CANCELLED] * 2]
        assert not any(it.shard.kept().values())

    play(scenario)


def test_those_that_are_parked_are_read_back_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "READ_AT_ONCE", 2)

    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [up] = await client.submit()
        ids = await client.submit(MANY, upstream=[(position, up) for position in range(MANY)])
        await assigned(it, agent)
        ends = ends_of_commits(it)
        agent.report([up], kind=ReportKind.FAILED)
        for _ in range(MANY):
            await it.advance(1)
        assert {client.state_of(run_id) for run_id in ids} == {S.NOT_READY}
        assert max(ends) == 2
        assert not any(it.shard.kept().values())

    play(scenario, most_open=0)
