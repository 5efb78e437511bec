"""A run with very many inputs: little in memory, all of it in a file, never too much in one message."""

from typing import Any

import pytest
from support.owner_harness import Agent, World, assigned, play

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs.names import inputs_name, is_inputs
from taskyard_contract.errors import StorageFull
from taskyard_contract.states import ReportKind, RunState
from taskyard_contract.values.bodies import blobs_in
from taskyard_controlplane.blobs.memory import MemoryStore
from taskyard_controlplane.domain.memory import ManyInputs
from taskyard_controlplane.owner.journal import journal
from taskyard_controlplane.owner.queueing import large_bodies
from taskyard_controlplane.owner.rules import upstream

S = RunState
MANY = 20


@pytest.fixture(autouse=True)
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "MANY_INPUTS", MANY)
    monkeypatch.setattr(large_bodies, "INPUTS_PER_PIECE", 7)
    monkeypatch.setattr(large_bodies, "MOST_NAMED", 10)
    monkeypatch.setattr(journal, "LOOKED_UP_AT_ONCE", 8)


def store_of(it: World) -> MemoryStore:
    place = it.shard.delivery.bodies.place
    assert isinstance(place.blobs, MemoryStore)
    return place.blobs


async def written(it: World) -> None:
    """Let what is written be written, or removed, by threads."""
    await it.settle()
    while it.shard.delivery.waiting:
        await it.settle()
    while sum(map(is_inputs, store_of(it).blobs)) != len(it.shard.delivery.bodies):
        await it.settle()


async def reduce_of(it: World, agent: Agent, count: int, **result: Any) -> tuple[bytes, list[bytes]]:
    """Let a run be ready that takes so many results."""
    client = it.client()
    ups = await client.submit(count)
    [reduce] = await client.submit(upstream=[(0, up) for up in ups])
    await assigned(it, agent)
    agent.report(ups, **(result or {"value": b"v" * 300}))
    await written(it)
    return reduce, ups


def body_of(it: World, chunk: ap.AssignChunk) -> bytes:
    return b"".join(store_of(it).read(chunk.body_blob.name))


def test_as_many_as_a_message_takes_are_in_it() -> None:
    async def scenario(it: World) -> None:
        agent = it.agent(credit=100)
        reduce, ups = await reduce_of(it, agent, MANY)
        assert agent.receive() == [reduce]
        assert not agent.chunks[-1].HasField("body_blob")
        assert list(agent.bodies[reduce][0].input_ids) == ups

    play(scenario)


def test_of_more_only_the_ids_are_in_memory_and_the_values_in_a_file() -> None:
    async def scenario(it: World) -> None:
        agent = it.agent(credit=100)
        before = it.shard.book.ledger.total
        reduce, ups = await reduce_of(it, agent, 2 * MANY)
        run = it.runs[reduce]
        assert isinstance(run.inputs, ManyInputs)
        assert (run.held_bytes, it.shard.book.ledger.total) == (0, before)
        assert agent.receive() == [reduce]
        chunk = agent.chunks[-1]
        assert chunk.body_blob.name == inputs_name(reduce, agent.assigned[reduce])
        body = ap.ChunkBody.FromString(body_of(it, chunk))
        assert (list(body.input_ids), list(body.inputs)) == (ups, [b"v" * 300] * 2 * MANY)
        assert list(body.args) == [b"args"]
        agent.report([reduce])
        await written(it)
        assert not any(it.shard.kept().values())

    play(scenario)


def test_upstream_runs_that_ended_long_ago_are_asked_about_in_steps() -> None:
    async def scenario(it: World) -> None:
        agent, client = it.agent(credit=100), it.client()
        ups = await client.submit(2 * MANY)
        await assigned(it, agent)
        agent.report(ups, value=b"v")
        await it.settle()
        it.shard.book.recent.clear()
        asked: list[int] = []
        looked_up = it.shard.upstream.looked_up

        def noted(some: list[bytes], found: Any) -> None:
            asked.append(len(some))
            looked_up(some, found)

        it.shard.upstream.looked_up = noted
        [reduce] = await client.submit(upstream=[(0, up) for up in ups])
        await written(it)
        assert agent.receive() == [reduce]
        assert asked == [8] * 5
        assert set(ap.ChunkBody.FromString(body_of(it, agent.chunks[-1])).inputs) == {b"v"}

    play(scenario)


def test_blobs_among_very_many_inputs_are_named_in_the_file_only() -> None:
    async def scenario(it: World) -> None:
        agent = it.agent(credit=100)
        blob = common_pb2.BlobRef(digest=b"d" * 32, size=70_000)
        payload = common_pb2.Payload(encoding="python/pickle5", blob=blob)
        reduce, _ = await reduce_of(it, agent, 2 * MANY, kind=ReportKind.SUCCEEDED, result=payload)
        assert agent.receive() == [reduce]
        chunk = agent.chunks[-1]
        assert (list(chunk.blobs), chunk.body_has_blobs) == ([], True)
        assert blobs_in(memoryview(body_of(it, chunk))) == [blob] * 2 * MANY

    play(scenario)


def test_a_full_store_delays_the_run_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(it: World) -> None:
        agent, store = it.agent(credit=100), store_of(it)
        receive = store.receive

        def full(ref: common_pb2.BlobRef) -> Any:
            incoming = receive(ref)

            def refuse(part: bytes) -> None:
                raise StorageFull("no room")

            incoming.write = refuse  # type: ignore[method-assign]
            return incoming

        monkeypatch.setattr(store, "receive", full)
        reduce, _ = await reduce_of(it, agent, 2 * MANY)
        assert agent.receive() == []
        assert it.runs[reduce].state != S.FAILED
        monkeypatch.setattr(store, "receive", receive)
        await it.advance(2)
        await written(it)
        assert agent.receive() == [reduce]
        assert len(store.blobs) == 1

    play(scenario)


def test_a_run_that_is_assigned_anew_gets_a_file_of_its_own_and_the_old_one_goes() -> None:
    async def scenario(it: World) -> None:
        agent = it.agent(credit=100)
        reduce, ups = await reduce_of(it, agent, 2 * MANY)
        assert agent.receive() == [reduce]
        first = agent.chunks[-1].body_blob.name
        agent.send(lost=[ap.LostRun(key=agent.key(reduce))])
        await written(it)
        assert agent.receive() == [reduce]
        chunk = agent.chunks[-1]
        assert chunk.body_blob.name != first
        assert list(store_of(it).blobs) == [chunk.body_blob.name]
        assert list(ap.ChunkBody.FromString(body_of(it, chunk)).input_ids) == ups

    play(scenario)


def test_nothing_stays_of_a_run_that_is_cancelled_while_its_file_is_written() -> None:
    async def scenario(it: World) -> None:
        agent, client = it.agent(credit=100), it.client()
        ups = await client.submit(2 * MANY)
        [reduce] = await client.submit(upstream=[(0, up) for up in ups])
        await assigned(it, agent)
        agent.report(ups, value=b"v" * 300)
        while it.runs[reduce].agent is None:
            await it.shard.committer.flush()
        await client.send(cancel=[reduce])
        await written(it)
        agent.receive()
        agent.send(cancelled=[agent.key(reduce)])
        await written(it)
        assert client.state_of(reduce) == S.CANCELLED
        assert not store_of(it).blobs

    play(scenario)
