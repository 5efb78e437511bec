"""A run whose inputs are too large for a message, or too many, gets them as a file, which goes with it."""

from pathlib import Path

import pytest
from support.owner_harness import Agent, World, assigned, play
from xxhash import xxh3_64_intdigest

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs.names import is_inputs
from taskyard_contract.states import ReportKind, RunState, StateReason
from taskyard_controlplane.blobs.memory import MemoryStore
from taskyard_controlplane.domain import model
from taskyard_controlplane.owner.queueing import large_bodies

S = RunState
RESULT = b"r" * 2_000


@pytest.fixture(autouse=True)
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "LARGE_INPUTS", 10_000)
    monkeypatch.setattr(large_bodies, "PART_BYTES", 5_000)


async def body_of(it: World, chunk: ap.AssignChunk) -> ap.ChunkBody:
    """Read the body of a chunk as an agent would."""
    blob = chunk.body_blob
    data = b"".join(store_of(it).read(blob.name))
    assert (xxh3_64_intdigest(data), len(data)) == (blob.checksum, blob.size)
    return ap.ChunkBody.FromString(data)


def store_of(it: World) -> MemoryStore:
    place = it.shard.delivery.bodies.place
    assert isinstance(place.blobs, MemoryStore)
    return place.blobs


async def written(it: World) -> None:
    """Let what is written be written, or removed: in threads, so some turns of the loop are not enough."""
    await it.settle()
    while it.shard.delivery.waiting:
        await it.settle()
    while stored(it) != len(it.shard.delivery.bodies):
        await it.settle()


def stored(it: World) -> int:
    return sum(is_inputs(name) for name in store_of(it).blobs)


async def reduce_of(it: World, agent: Agent) -> tuple[bytes, list[bytes]]:
    """Let a run be assigned whose inputs are large together; returns it, and its upstream runs."""
    client = it.client()
    ups = await client.submit(10)
    [reduce] = await client.submit(
        upstream=[(0, up) for up in ups], args=[b"a" * 300], encoding="python/pickle5"
    )
    await assigned(it, agent)
    agent.report(ups[:9], value=RESULT)
    blob = common_pb2.BlobRef(digest=b"d" * 32, size=9)
    agent.report(
        ups[9:], kind=ReportKind.SUCCEEDED, result=common_pb2.Payload(encoding="python/pickle5", blob=blob)
    )
    await written(it)
    assert agent.receive() == [reduce]
    return reduce, ups


def test_the_body_is_in_the_store_and_gone_with_the_run() -> None:
    async def scenario(it: World) -> None:
        agent = it.agent()
        reduce, ups = await reduce_of(it, agent)
        chunk = agent.chunks[-1]
        assert len(chunk.body) < 1_000
        assert [one.digest for one in chunk.blobs] == [b"d" * 32]
        body = await body_of(it, chunk)
        assert list(body.args) == [b"a" * 300]
        assert list(body.input_ids) == ups
        assert set(body.input_positions) == {0}
        assert list(body.inputs) == [RESULT] * 9 + [b""]
        [other] = body.others
        assert (other.run_id, other.result.blob.digest) == (ups[9], b"d" * 32)
        assert it.shard.kept()["large bodies"] == stored(it) == 1
        agent.report([reduce])
        await written(it)
        assert not any(it.shard.kept().values())
        assert stored(it) == 0
        assert await it.ask(lambda: it.store.runs_by_id([reduce]))

    play(scenario)


def test_a_run_whose_inputs_an_agent_could_not_fetch_is_assigned_again() -> None:
    async def scenario(it: World) -> None:
        agent = it.agent()
        reduce, ups = await reduce_of(it, agent)
        lost = ap.LostRun(key=agent.key(reduce), reason=StateReason.CODE_UNAVAILABLE.value)  # type: ignore[arg-type]
        agent.send(lost=[lost])
        await written(it)
        assert agent.receive() == [reduce]
        assert list((await body_of(it, agent.chunks[-1])).input_ids) == ups
        assert (await it.history(reduce))[:1] == [S.READY]  # one more infra retry, no failure

    play(scenario)


def test_a_restart_forgets_the_body_and_the_run_is_assigned_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/taskyard.db"
    found = {}

    async def scenario(it: World) -> None:
        agent = it.agent()
        found["run"], _ = await reduce_of(it, agent)
        found["epoch"], found["session"] = agent.assigned[found["run"]], agent.session_id
        await it.advance(1)
        it.owner.abandon()

    async def restarted(it: World) -> None:
        run_id, epoch = found["run"], found["epoch"]
        agent = it.agent(session_id=found["session"], held=[(run_id, epoch)])
        assert agent.adopted == [run_id]
        lost = ap.LostRun(
            key=ap.RunKey(run_id=run_id, epoch=epoch),
            reason=StateReason.CODE_UNAVAILABLE.value,  # type: ignore[arg-type]
        )
        agent.send(lost=[lost])
        await written(it)
        assert agent.receive() == [run_id]
        assert len((await body_of(it, agent.chunks[-1])).input_ids) == 10

    play(scenario, url)
    play(restarted, url)
