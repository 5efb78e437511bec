"""Runs prefer the agents that have their large inputs, and wait no longer than moving these would take."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from support.owner_harness import Agent, World, assigned, play

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs.names import result_name
from taskyard_contract.states import ReportKind
from taskyard_contract.states import RunState as S

MB = 1_000_000
KEPT = 1_000 * MB
Scenario = Callable[[World], Coroutine[Any, Any, None]]


def returns_blob(agent: Agent, run_id: bytes, size: int = 20 * MB) -> None:
    name = result_name(run_id, agent.assigned[run_id])
    blob = common_pb2.BlobRef(name=name, size=size, checksum=1)
    payload = common_pb2.Payload(encoding="python/pickle5+buffers", blob=blob)
    agent.report([run_id], kind=ReportKind.SUCCEEDED, result=payload)


def apart(it: World, name: str, credit: int = 100, keeps: int | None = KEPT) -> Agent:
    """An agent that keeps large values in a directory of its own, or says something else of that."""
    agent = it.agent(name, credit=0)
    if keeps is not None:
        agent.send(keeps_blob_bytes=keeps)
    wants(agent, credit)
    return agent


def wants(agent: Agent, more: int) -> None:
    agent.granted += more
    agent.send(credit=ap.Credit(granted_total=agent.granted, chunk_size=100))


async def made_by(it: World, maker: Agent, size: int = 20 * MB, count: int = 1) -> tuple[list[bytes], Any]:
    """Have an agent that is alone make large values; returns the runs, and who has submitted them."""
    client = it.client()
    ids = await client.submit(count)
    assert await assigned(it, maker) == ids
    for run_id in ids:
        returns_blob(maker, run_id, size)
    await it.settle()
    return ids, client


async def read(client: Any, upstream: list[bytes], name: str = "reader") -> list[bytes]:
    edges = list(enumerate(upstream))
    found: list[bytes] = await client.submit(len(upstream), upstream=edges, name=name)
    return found


def test_a_run_goes_to_the_agent_that_has_made_its_input() -> None:
    async def scenario(it: World) -> None:
        maker = apart(it, "maker")
        values, client = await made_by(it, maker, count=4)
        other = apart(it, "other")
        for value in values:  # whoever is first in the round
            [reader] = await read(client, [value])
            await it.settle()
            assert maker.receive() == [reader]
            maker.report([reader])
        assert other.receive() == []

    play(scenario)


def test_readers_of_many_values_go_where_each_was_made() -> None:
    async def scenario(it: World) -> None:
        one, other = apart(it, "one"), apart(it, "other", credit=0)
        here, client = await made_by(it, one, count=2)
        wants(other, 2)
        one.agent.paused = True  # so that the other one makes these
        there = await client.submit(2)
        assert await assigned(it, other) == there
        for run_id in there:
            returns_blob(other, run_id)
        one.agent.paused = False
        wants(other, 100)
        await it.settle()
        readers = await read(client, [here[0], there[0], here[1], there[1]])
        await it.settle()
        assert sorted(one.receive()) == sorted([readers[0], readers[2]])
        assert sorted(other.receive()) == sorted([readers[1], readers[3]])

    play(scenario)


def test_a_run_waits_for_a_busy_agent_as_long_as_moving_its_input_takes() -> None:
    async def scenario(it: World) -> None:
        maker = apart(it, "maker", credit=1)
        [value], client = await made_by(it, maker)
        maker.agent.assigned = maker.granted  # full
        other = apart(it, "other")
        [reader] = await read(client, [value])
        assert await assigned(it, other) == []
        await it.advance(0.015)
        assert other.receive() == []
        await it.advance(0.01)
        assert other.receive() == [reader]
        assert maker.receive() == []
        assert it.shard.kept()["runs near their inputs"] == 0

    play(scenario)


def test_an_agent_that_gets_room_meanwhile_has_what_waits_for_it() -> None:
    async def scenario(it: World) -> None:
        maker = apart(it, "maker", credit=1)
        [value], client = await made_by(it, maker)
        maker.agent.assigned = maker.granted
        other = apart(it, "other")
        [reader] = await read(client, [value])
        assert await assigned(it, other) == []
        await it.advance(0.01)
        wants(maker, 1)
        assert maker.receive() == [reader]
        await it.advance(1)
        assert other.receive() == []

    play(scenario)


def test_other_work_does_not_wait_with_it() -> None:
    async def scenario(it: World) -> None:
        maker = apart(it, "maker", credit=1)
        [value], client = await made_by(it, maker)
        maker.agent.assigned = maker.granted
        other = apart(it, "other")
        await read(client, [value])
        fresh = await client.submit(3)
        assert await assigned(it, other) == fresh

    play(scenario)


def test_nobody_is_idle_for_an_agent_that_will_not_have_room_in_time() -> None:
    async def scenario(it: World) -> None:
        maker = apart(it, "maker", credit=3)
        [value], client = await made_by(it, maker)
        slow = await client.submit(3)
        assert await assigned(it, maker) == slow, "it has two slots"
        maker.agent.assigned = maker.granted
        [reader] = await read(client, [value])
        await it.settle()
        it.runs[reader].template.mean_ms = 1_000.0
        other = apart(it, "other")
        assert await assigned(it, other) == [reader]

    play(scenario)


def test_an_agent_has_what_it_has_fetched() -> None:
    async def scenario(it: World) -> None:
        maker = apart(it, "maker", credit=1)
        [value], client = await made_by(it, maker)
        maker.agent.assigned = maker.granted
        other = apart(it, "other")
        [first] = await read(client, [value])
        await it.settle()
        await it.advance(0.05)
        assert other.receive() == [first]
        [second] = await read(client, [value])
        assert await assigned(it, other) == [second], "it does not wait a second time"

    play(scenario)


@pytest.mark.parametrize("keeps", [0, None], ids=["sees the store", "does not say"])
def test_agents_that_keep_nothing_of_their_own_get_runs_at_once(keeps: int | None) -> None:
    async def scenario(it: World) -> None:
        maker = apart(it, "maker", credit=1)
        [value], client = await made_by(it, maker)
        maker.agent.assigned = maker.granted
        other = apart(it, "other", keeps=keeps)
        assert await assigned(it, other) == []
        reader = await read(client, [value])
        assert await assigned(it, other) == reader

    play(scenario)


def test_what_is_in_the_store_is_near_to_all_who_see_it() -> None:
    async def scenario(it: World) -> None:
        near = apart(it, "near", keeps=0)
        values, client = await made_by(it, near, count=4)
        far = apart(it, "far")
        for value in values:
            [reader] = await read(client, [value])
            await it.settle()
            assert near.receive() == [reader]
            near.report([reader])
        assert far.receive() == []

    play(scenario)


def test_small_values_are_no_reason() -> None:
    async def scenario(it: World) -> None:
        maker = apart(it, "maker", credit=1)
        [value], client = await made_by(it, maker, size=100_000)
        maker.agent.assigned = maker.granted
        other = apart(it, "other")
        reader = await read(client, [value])
        assert await assigned(it, other) == reader

    play(scenario)


def test_what_was_pushed_out_since_is_no_reason() -> None:
    async def scenario(it: World) -> None:
        maker = apart(it, "maker", keeps=50 * MB)
        [old, _, _], client = await made_by(it, maker, count=3)
        maker.agent.assigned = maker.granted
        other = apart(it, "other")
        reader = await read(client, [old])
        assert await assigned(it, other) == reader

    play(scenario)


def test_runs_do_not_wait_for_an_agent_that_has_left() -> None:
    async def scenario(it: World) -> None:
        maker = apart(it, "maker", credit=1)
        [value], client = await made_by(it, maker)
        maker.agent.assigned = maker.granted
        other = apart(it, "other")
        reader = await read(client, [value])
        assert await assigned(it, other) == []
        maker.disconnect()
        it.owner.connections.agents.lost(maker.agent)
        await it.advance(0)
        assert other.receive() == reader
        again = await read(client, [value])
        assert await assigned(it, other) == again

    play(scenario)


def test_a_run_that_is_cancelled_while_it_waits_is_gone() -> None:
    async def scenario(it: World) -> None:
        maker = apart(it, "maker", credit=1)
        [value], client = await made_by(it, maker)
        maker.agent.assigned = maker.granted
        other = apart(it, "other")
        [reader] = await read(client, [value])
        assert await assigned(it, other) == []
        await client.send(cancel=[reader])
        await it.settle()
        assert client.state_of(reader) == S.CANCELLED
        await it.advance(0.5)
        assert other.receive() == []
        assert it.shard.kept()["runs near their inputs"] == 0

    play(scenario)


def test_a_shared_argument_is_read_where_it_was_sent_before() -> None:
    async def scenario(it: World) -> None:
        one, other = apart(it, "one", credit=1), apart(it, "other", credit=0)
        client = it.client()
        table = common_pb2.BlobRef(name=f"b3-{'0' * 64}", size=MB, checksum=1)
        argument = common_pb2.Payload(encoding="python/pickle5", data=b"call", values=[table])
        [first] = await client.submit(args=[b""], extras=[argument])
        assert await assigned(it, one) == [first]
        one.report([first])
        wants(other, 10)
        for _ in range(4):
            [reader] = await client.submit(args=[b""], extras=[argument])
            await it.settle()
            assert one.receive() == [reader]
            one.report([reader])
        assert other.receive() == []

    play(scenario)


def test_one_agent_does_not_get_all_while_another_is_idle() -> None:
    async def scenario(it: World) -> None:
        maker = apart(it, "maker")
        [value], client = await made_by(it, maker)
        other = apart(it, "other")
        [first] = await read(client, [value], "slow")
        await it.settle()
        assert maker.receive() == [first]
        maker.report([first], took_us=1_000_000)
        await it.settle()
        await read(client, [value] * 8, "slow")
        await it.advance(0.05)
        mine, theirs = maker.receive(), other.receive()
        assert len(mine) + len(theirs) == 8
        assert len(theirs) >= 2, "it has two slots, and each run takes a second"

    play(scenario)
