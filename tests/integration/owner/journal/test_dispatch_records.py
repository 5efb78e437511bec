"""Records of dispatches: what agents hold is known after a restart, and what is over is forgotten."""

import asyncio
from pathlib import Path

from support.owner_harness import World, assigned, lose, started, world

from taskyard_contract.id_factory import new_id
from taskyard_controlplane.owner.queueing.dispatch_log import FEW_DISPATCHES


async def record(it: World) -> None:
    """Let a commit happen; the records of dispatches ride on it."""
    await it.client().submit(queue="nobody")
    await it.settle()


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
                assert agent.adopted == [run_id]

    asyncio.run(asyncio.wait_for(main(), 20))
