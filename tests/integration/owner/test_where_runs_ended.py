"""Ended runs say which agent had them last: durably, over restarts, on both databases."""

import asyncio
from contextlib import closing
from pathlib import Path

import pytest
from support.owner_harness import World, assigned, kill_and_restart, play, world

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_contract.states import ReportKind, RunState, StateReason
from taskyard_controlplane.reading.messages import run_message
from taskyard_controlplane.storage import create_reader


def told(it: World, run_id: bytes) -> tuple[str, str]:
    """Return the id and the name of the agent that whoever reads a run is told."""
    with closing(create_reader(it.url)) as reader:
        listed = reader.run(run_id)
    assert listed is not None
    message = run_message(listed)
    return message.agent_id, message.agent_name


@pytest.mark.parametrize("kind", [None, ReportKind.FAILED, ReportKind.CANCELLED])
def test_a_run_that_ended_names_its_agent_however_it_ended(kind: int | None) -> None:
    async def scenario(it: World) -> None:
        agent = it.agent("a")
        [run_id] = await it.client().submit()
        await assigned(it, agent)
        assert told(it, run_id) == ("", ""), "an open run is the owner's to tell"
        agent.report([run_id], **({"kind": kind} if kind else {}))
        await it.settle()
        assert told(it, run_id) == ("a", agent.agent.name)

    play(scenario)


def test_of_several_agents_the_last_one_is_named() -> None:
    async def scenario(it: World) -> None:
        first = it.agent("first")
        [run_id] = await it.client().submit(retry={"max_retries": 1})
        await assigned(it, first)
        first.send(draining=True)
        first.report([run_id], kind=ReportKind.FAILED)
        second = it.agent("second")
        assert await assigned(it, second) == [run_id]
        second.report([run_id])
        await it.settle()
        assert told(it, run_id)[0] == "second"

    play(scenario)


def test_a_run_that_is_lost_with_its_agent_names_it() -> None:
    async def scenario(it: World) -> None:
        [run_id] = await it.client().submit(max_infra_retries=1)
        agent = it.agent("never")
        for name in "abcdef":
            it.owner.connections.agents.lost(agent.agent)
            await it.settle()
            if run_id not in it.runs:
                break
            agent = it.agent(name)
            assert await assigned(it, agent) == [run_id]
            agent.send(started=[ap.StartedRun(key=agent.key(run_id), running_ms=1)])
        [row] = await it.ask(lambda: it.store.runs_by_id([run_id]))
        assert (row.state, row.reason) == (RunState.CRASHED, StateReason.AGENT_LOST)
        assert told(it, run_id) == (agent.agent.agent_id, agent.agent.name)

    play(scenario)


def test_runs_that_no_agent_had_name_none() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent("a")
        flow = await client.start_flow()
        leader, follower = await client.submit(2, flow=flow, cache_keys=["k"] * 2)
        await assigned(it, agent)
        agent.report([leader])
        await it.settle()
        [cancelled] = await client.submit(queue="nobody's")
        await client.send(cancel=[cancelled])
        await it.settle()
        assert told(it, leader)[0] == "a"
        assert [told(it, run_id) for run_id in (follower, cancelled)] == [("", "")] * 2

    play(scenario)


def test_agents_are_named_right_after_a_restart(tmp_path: Path) -> None:
    """Numbers go on, and the run that was held when the owner was lost is known by what was recorded."""
    found: dict[str, bytes] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent("a")
        [found["ended"]] = await client.submit()
        await assigned(it, agent)
        agent.report([found["ended"]])
        [found["held"]] = await client.submit()
        await assigned(it, agent)
        await client.submit()  # the next commit carries the record of the dispatch
        await it.settle()
        found["session"] = client.session.session_id

    async def after(it: World) -> None:
        client, other = it.client(found["session"]), it.agent("b", credit=9)
        await client.send(cancel=[found["held"]])
        [mine] = await it.client().submit(name="mine")
        assert mine in await assigned(it, other)
        other.report([mine])
        for _ in range(31):
            other.heartbeat()
            await it.advance(1)
        assert told(it, found["ended"])[0] == "a"
        assert told(it, mine)[0] == "b"
        [row] = await it.ask(lambda: it.store.runs_by_id([found["held"]]))
        assert row.state == RunState.CANCELLED
        assert told(it, found["held"])[0] == "a"

    kill_and_restart(tmp_path, before, after)


def test_agents_are_named_on_postgres(postgres_url: str) -> None:
    async def main() -> None:
        async with world(postgres_url) as it:
            agent = it.agent("a")
            ids = await it.client().submit(3)
            await assigned(it, agent)
            agent.report(ids)
            await it.settle()
            assert [told(it, run_id)[0] for run_id in ids] == ["a"] * 3

    asyncio.run(asyncio.wait_for(main(), 60))
