"""Runs that wait in the database alone: they can be ended, waited for and found like those in memory."""

import asyncio
from pathlib import Path

import pytest
from support.owner_harness import World, assigned, lose, play, started, world

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.states import FlowEvent, RunState

S = RunState


async def record(it: World) -> None:
    """Let a commit happen; the records of dispatches ride on it."""
    await it.client().submit(queue="nobody")
    await it.settle()


def test_runs_read_back_from_the_backlog_survive_a_kill(tmp_path: Path) -> None:
    """How far recovery looks back must not pass runs that are only in the backlog."""
    url = f"sqlite:///{tmp_path}/yard.db"

    async def main() -> None:
        first = await started(url, 3)
        client, agent = first.client(), first.agent(credit=0)
        ids = await client.submit(6)
        await first.settle()
        await first.owner.cancel(ids[0])  # its place in the window is taken until somebody asks for work
        await first.settle()
        assert first.owner.open_count() == 0
        await first.advance(4)  # upkeep notes how far recovery will have to look back
        await client.submit(queue="other")
        await first.settle()
        agent.send(credit=ap.Credit(granted_total=1, chunk_size=1))
        await client.submit(queue="other")
        await first.settle()
        assert len(agent.receive()) == 1
        await lose(first)
        async with world(url, window=3) as second:
            client = second.client(client.session.session_id)
            await client.send(subscribe=ids)
            agent = second.agent(credit=50)
            for _ in range(40):
                agent.heartbeat()
                agent.report(agent.receive())
                await second.advance(1)
            client.receive()
            waiting = ids[1:]
            assert set(waiting) <= client.results.keys()

    asyncio.run(asyncio.wait_for(main(), 30))


def test_runs_read_back_from_a_recovered_backlog_survive_the_next_kill(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/yard.db"

    async def main() -> None:
        first = await started(url, window=2)
        ids = await first.client().submit(6)
        await first.settle()
        await lose(first)
        second = await started(url, window=2)
        await second.advance(4)  # upkeep notes how far recovery will have to look back
        await record(second)
        agent, held = second.agent(credit=3, chunk=1), list[bytes]()
        for _ in range(10):
            await second.advance(1)
            held += agent.receive()
        assert len(held) == 3
        await record(second)
        await lose(second)
        async with world(url, window=2) as third:
            agent, executed = third.agent(credit=6, chunk=1), list[bytes]()
            for _ in range(40):
                await third.advance(1)
                agent.heartbeat()
                new = agent.receive()
                executed += new
                if new:
                    agent.report(new)
            assert sorted(executed) == sorted(ids)
            rows = await third.shard.stored.rows(ids)
            assert {row.state for row in rows} == {RunState.COMPLETED}

    asyncio.run(asyncio.wait_for(main(), 20))


@pytest.mark.parametrize("how", ["cancel", "withdraw"])
def test_runs_on_their_way_to_the_backlog_can_be_cancelled(how: str) -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        ids = await client.submit(9)
        await client.send(**{how: ids})
        await it.settle()
        assert [client.state_of(run_id) for run_id in ids] == [S.CANCELLED] * 9

    play(scenario, window=3)


@pytest.mark.parametrize("how", ["cancel", "withdraw"])
def test_runs_of_others_stay_in_the_backlog_when_somebody_asks_for_their_end(how: str) -> None:
    async def scenario(it: World) -> None:
        client, stranger = it.client(), it.client()
        ids = await client.submit(9)
        await it.settle()
        before = set(it.runs)
        assert before < set(ids)
        await stranger.send(**{how: ids})
        await it.settle()
        assert set(it.runs) == before
        agent = it.agent(chunk=1)
        executed = await assigned(it, agent)
        agent.report(executed)
        executed += await assigned(it, agent)
        assert executed == ids, "each once, and in their order"

    play(scenario, window=3)


def test_a_goodbye_ends_runs_on_their_way_to_the_backlog() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        ids = await client.submit(9)
        await client.send(goodbye=True)
        await it.settle()
        assert [(await it.history(run_id))[-1] for run_id in ids] == [S.CANCELLED] * 9

    play(scenario, window=3)


def test_a_crashed_flow_takes_its_runs_in_the_backlog_with_it() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=0)
        flow = await client.start_flow()
        ids = await client.submit(9, flow=flow)
        await it.settle()
        await client.send(flow_reports=[sp.FlowReport(run_id=flow, event=int(FlowEvent.INTERRUPTED))])  # type: ignore[arg-type]
        await it.settle()
        agent.send(credit=ap.Credit(granted_total=50, chunk_size=5))
        assert await assigned(it, agent) == []
        assert [client.state_of(run_id) for run_id in ids] == [S.CANCELLED] * 9

    play(scenario, window=3)


def test_waiting_for_a_run_in_the_backlog_leaves_it_there() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=0)
        ids = await client.submit(9)
        await it.settle()
        waiting = asyncio.ensure_future(it.owner.wait_ended(ids[-1]))
        await it.settle()
        assert ids[-1] not in it.runs
        agent.granted = 50
        agent.send(credit=ap.Credit(granted_total=50, chunk_size=9))
        for _ in range(5):
            agent.report(await assigned(it, agent))
        await it.settle()
        assert waiting.done()

    play(scenario, window=3)
