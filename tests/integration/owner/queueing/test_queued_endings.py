"""Runs in the backlog end with their session or flow run, in parts, and none of them starts meanwhile."""

from typing import Any

import pytest
from support.owner_harness import World, assigned, play

from taskyard_contract.states import RunState as S
from taskyard_controlplane.owner.journal import queued_endings

COUNT = 20
WINDOW = 3


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queued_endings, "PART", 2)


async def _states(it: World, ids: list[bytes]) -> set[int]:
    return {(await it.history(run_id))[-1] for run_id in ids}


async def _until_over(it: World) -> None:
    while it.shard.endings:
        await it.settle()


def test_a_session_takes_its_queued_runs_along_and_no_others() -> None:
    async def scenario(it: World) -> None:
        client, other = it.client(), it.client()
        mine, theirs = list[bytes](), list[bytes]()
        for _ in range(COUNT):
            mine += await client.submit()
            theirs += await other.submit()
        await it.settle()
        most = await _most_read(it, lambda: client.send(goodbye=True))
        assert most <= 2
        assert await _states(it, mine) == {S.CANCELLED}
        assert [session.session_id for session in it.owner.sessions] == [other.session.session_id]
        agent, seen = it.agent(), list[bytes]()
        while new := await assigned(it, agent):
            seen += new
            agent.report(new)
        assert seen == theirs
        assert set(it.shard.kept().values()) == {0}, it.shard.kept()

    play(scenario, window=WINDOW)


async def _most_read(it: World, end: Any) -> int:
    """Return how many runs were read back at a time."""
    load, sizes = it.shard.stored.load, list[int]()

    def noted(rows: Any) -> Any:
        sizes.append(len(rows))
        return load(rows)

    it.shard.stored.load = noted
    await end()
    await _until_over(it)
    it.shard.stored.load = load
    return max(sizes)


@pytest.mark.parametrize("with_flow", [False, True])
def test_nothing_that_is_being_ended_starts(with_flow: bool) -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        flow = await client.start_flow() if with_flow else b""
        ids = await client.submit(COUNT, flow=flow)
        await it.settle()
        if with_flow:
            await it.owner.cancel(flow)
        else:
            await client.send(goodbye=True)
        assert it.shard.endings
        agent = it.agent()
        await _until_over(it)
        assert await assigned(it, agent) == []
        assert await _states(it, ids) == {S.CANCELLED}

    play(scenario, window=WINDOW)


def test_what_a_session_queues_after_it_came_back_stays() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        old = await client.submit(COUNT)
        await it.settle()
        client.disconnect()
        for _ in range(3):  # its lease has lapsed, each time somebody looks
            it.owner.connections.clients.lost(client.session)
        again = it.client(client.session.session_id)
        new = [*await again.submit(), *await again.submit(COUNT)]
        await _until_over(it)
        assert await _states(it, old) == {S.CANCELLED}
        assert await _states(it, new) == {S.READY}
        again.disconnect()
        it.owner.connections.clients.lost(again.session)
        await _until_over(it)
        assert await _states(it, new) == {S.CANCELLED}
        assert it.owner.sessions == []

    play(scenario, window=WINDOW)


def test_the_backlog_is_not_searched_for_a_session_that_has_nothing_there() -> None:
    async def scenario(it: World) -> None:
        await it.client().submit(COUNT)
        await it.settle()
        client = it.client(stream_number=1)
        await client.submit(queue="other")
        await it.settle()
        await client.send(goodbye=True)
        assert not it.shard.endings
        assert len(it.owner.sessions) == 1

    play(scenario, window=WINDOW)


@pytest.mark.parametrize("with_flow", [False, True])
def test_what_is_in_memory_ends_in_parts_too(with_flow: bool) -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        flow = await client.start_flow()
        ids = await client.submit(9, flow=flow if with_flow else None, queue="nobody")
        await it.settle()
        commit, ended = it.store.commit, list[int]()

        def counted(batch: Any) -> Any:
            ended.append(len(batch.ended))
            return commit(batch)

        it.store.commit = counted  # type: ignore[method-assign]
        if with_flow:
            await it.owner.cancel(flow)
        else:
            await client.send(goodbye=True)
        await _until_over(it)
        assert await _states(it, ids) == {S.CANCELLED}
        assert 0 < max(ended) <= 3, "of the runs two at a time; and the flow run"

    play(scenario)
