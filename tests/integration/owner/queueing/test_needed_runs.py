"""What called runs cannot go on without is sent also where many runs wait, though nobody has called it."""

from typing import Any

from support.owner_harness import Agent, World, assigned, play

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_contract.states import ReportKind, RunState

S = RunState
WITH_KEY: Any = {"cache_keys": ["k"]}


async def caller_and_crowded(it: World) -> tuple[bytes, Agent]:
    """Return a run that is executed, and an agent that takes only what waiting runs have called."""
    client, other = it.client(), it.agent("other", credit=1)
    [caller] = await client.submit()
    await assigned(it, other)
    crowded = it.agent("crowded", credit=0)
    stay_crowded(crowded)
    return caller, crowded


def stay_crowded(agent: Agent) -> None:
    agent.send(credit=ap.Credit(granted_total=9, chunk_size=1, nested_only=True))


def test_the_leader_of_a_key_that_a_called_run_waits_for() -> None:
    async def scenario(it: World) -> None:
        caller, crowded = await caller_and_crowded(it)
        client, inner = it.client(), it.client(caller_run_id=caller)
        [leader] = await client.submit(**WITH_KEY)
        assert await assigned(it, crowded) == []
        [called] = await inner.submit(**WITH_KEY)
        assert await assigned(it, crowded) == [leader]
        assert [(chunk.nested, chunk.caller_run_id) for chunk in crowded.chunks] == [(True, caller)]
        crowded.report([leader])
        await it.settle()
        assert inner.state_of(called) == S.COMPLETED

    play(scenario)


def test_whoever_leads_after_it() -> None:
    async def scenario(it: World) -> None:
        caller, crowded = await caller_and_crowded(it)
        client, inner = it.client(), it.client(caller_run_id=caller)
        first, second = await client.submit(2, cache_keys=["k", "k"])
        await it.settle()
        [called] = await inner.submit(**WITH_KEY)
        assert await assigned(it, crowded) == [first]
        crowded.report([first], kind=ReportKind.FAILED)
        stay_crowded(crowded)
        assert await assigned(it, crowded) == [second]
        crowded.report([second])
        await it.settle()
        assert inner.state_of(called) == S.COMPLETED

    play(scenario)


def test_what_is_upstream_of_a_called_run() -> None:
    async def scenario(it: World) -> None:
        caller, crowded = await caller_and_crowded(it)
        client, inner = it.client(), it.client(caller_run_id=caller)
        upstream, unneeded = await client.submit(2)
        await it.settle()
        [called] = await inner.submit(upstream=[(0, upstream)])
        assert await assigned(it, crowded) == [upstream]
        crowded.report([upstream])
        stay_crowded(crowded)
        assert await assigned(it, crowded) == [called]
        assert it.runs[unneeded].state == S.READY

    play(scenario)


def test_one_that_comes_back_is_still_needed() -> None:
    async def scenario(it: World) -> None:
        caller, crowded = await caller_and_crowded(it)
        client, inner = it.client(), it.client(caller_run_id=caller)
        [leader] = await client.submit(max_infra_retries=3, **WITH_KEY)
        await it.settle()
        await inner.submit(**WITH_KEY)
        assert await assigned(it, crowded) == [leader]
        crowded.send(
            lost=[ap.LostRun(key=ap.RunKey(run_id=leader, epoch=it.runs[leader].epoch))], report_number=1
        )
        assert await assigned(it, crowded) == [leader]

    play(scenario)
