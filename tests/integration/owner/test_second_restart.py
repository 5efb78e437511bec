"""What is still known after the owner was lost twice."""

import asyncio
from pathlib import Path

from support.owner_harness import World, assigned, lose, started, world

from taskyard_contract.id_factory import new_id
from taskyard_contract.states import RunState
from taskyard_controlplane.owner.queueing.dispatch_log import FEW_DISPATCHES


async def record(it: World) -> None:
    """Let a commit happen; the records of dispatches ride on it."""
    await it.client().submit(queue="nobody")
    await it.settle()


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


def test_what_every_agent_holds_is_recorded_again_when_the_record_is_compacted(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/yard.db"

    async def main() -> None:
        first = await started(url)
        client = first.client()
        long_runs = {}
        for name in ("a", "b", "c"):
            agent = first.agent(name, credit=1)
            [long_runs[name]] = await client.submit()
            assert await assigned(first, agent) == [long_runs[name]]
        quick = first.agent("quick", credit=1)
        for _ in range(FEW_DISPATCHES + 2):
            ids = await client.submit()
            assert await assigned(first, quick) == ids
            quick.report(ids)
        await record(first)
        assert len(first.shard.dispatcher.log.entries) < FEW_DISPATCHES
        await lose(first)
        async with world(url) as second:
            other = second.agent("other")
            assert await assigned(second, other) == []
            for name, run_id in long_runs.items():
                run = second.runs[run_id]
                agent = second.agent(name, credit=0, session_id=new_id(), held=[(run_id, run.epoch)])
                assert [key.run_id for key in agent.welcome.adopt] == [run_id]

    asyncio.run(asyncio.wait_for(main(), 20))
