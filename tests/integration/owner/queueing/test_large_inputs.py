"""Inputs of runs: results that are blobs, and payload that has to be read before it can be sent."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from support.owner_harness import World, assigned, play

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import common_pb2
from taskyard_contract.errors import StorageUnavailable
from taskyard_contract.states import ReportKind, RunState
from taskyard_controlplane.domain.memory import MemoryLimits
from taskyard_controlplane.storage.interface import StoredPayloads

S = RunState
LITTLE = MemoryLimits(payload=1_000)
"""Not enough for the arguments of one run here."""


class SlowReads:
    """A store whose first reading of payload takes until it is told how that ends."""

    def __init__(self, it: World, patched: pytest.MonkeyPatch) -> None:
        self._read = it.store.payloads
        self._go = threading.Event()
        self._fails = False
        self.asked = threading.Event()
        patched.setattr(it.store, "payloads", self._first)

    def _first(self, seqs: Sequence[int], run_ids: Sequence[bytes]) -> StoredPayloads:
        self.asked.set()
        assert self._go.wait(10)
        if self._fails:
            raise StorageUnavailable("not now")
        return self._read(seqs, run_ids)

    def end(self, *, fails: bool = False) -> None:
        self._fails = fails
        self._go.set()


async def dispatch_slowly(reads: SlowReads, patched: pytest.MonkeyPatch) -> None:
    """Let a run be assigned whose arguments are being read."""
    assert await asyncio.to_thread(reads.asked.wait, 10)
    patched.undo()


def test_a_chunk_read_for_an_old_stream_is_not_sent_on_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=1)
        reads = SlowReads(it, monkeypatch)
        [run_id] = await client.submit(args=[b"a" * 60_000])
        await dispatch_slowly(reads, monkeypatch)
        again = it.agent(session_id=agent.session_id, credit=1)
        reads.end()
        await it.settle()
        assert again.receive() == []
        await it.advance_slowly(4)
        assert again.receive() == [run_id]
        assert len(again.chunks) == 1

    play(scenario, memory=LITTLE)


def test_a_run_that_was_lost_before_its_chunk_was_read_stays_where_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=2)
        reads = SlowReads(it, monkeypatch)
        [run_id] = await client.submit(args=[b"a" * 60_000])
        await dispatch_slowly(reads, monkeypatch)
        [epoch] = [run.epoch for run in agent.agent.held.values()]
        agent.send(lost=[ap.LostRun(key=ap.RunKey(run_id=run_id, epoch=epoch))])
        reads.end(fails=True)
        assert await assigned(it, agent) == [run_id]
        await it.advance(3)
        assert agent.receive() == []
        agent.report([run_id])
        await it.settle()
        assert client.state_of(run_id) == S.COMPLETED

    play(scenario, memory=LITTLE)


def test_a_run_cancelled_before_its_chunk_was_read_is_cancelled_behind_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=1)
        reads = SlowReads(it, monkeypatch)
        [run_id] = await client.submit(args=[b"a" * 60_000])
        await dispatch_slowly(reads, monkeypatch)
        await client.send(cancel=[run_id])
        agent.agent.next_frame()
        reads.end()
        await it.settle()
        frame: Any = agent.agent.next_frame()
        assert [chunk.run_ids for chunk in frame.chunks] == [run_id]
        assert {key.run_id for key in frame.cancel} == {run_id}

    play(scenario, memory=LITTLE)


def test_an_upstream_result_that_is_a_blob_is_named_by_the_chunk() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [upstream] = await client.submit()
        [downstream] = await client.submit(upstream=[(0, upstream)])
        await assigned(it, agent)
        blob = common_pb2.BlobRef(digest=b"d" * 32, size=9)
        result = common_pb2.Payload(encoding="python/pickle5", blob=blob)
        agent.report([upstream], kind=ReportKind.SUCCEEDED, result=result)
        assert await assigned(it, agent) == [downstream]
        assert [one.digest for one in agent.chunks[-1].blobs] == [b"d" * 32]

    play(scenario)


def test_an_upstream_result_from_the_cache_is_that_of_the_upstream_run() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        leader, follower = await client.submit(2, cache_keys=["k"] * 2)
        [downstream] = await client.submit(upstream=[(0, follower)])
        assert await assigned(it, agent) == [leader]
        agent.report([leader])
        assert await assigned(it, agent) == [downstream]
        body, _ = agent.bodies[downstream]
        assert [(other.run_id, other.result.data) for other in body.others] == [(follower, b"result")]

    play(scenario)


def test_credit_for_what_could_not_be_sent_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=1)
        read = it.store.payloads

        def failing(seqs: Sequence[int], run_ids: Sequence[bytes]) -> StoredPayloads:
            monkeypatch.setattr(it.store, "payloads", read)
            raise StorageUnavailable("not now")

        monkeypatch.setattr(it.store, "payloads", failing)
        [run_id] = await client.submit(args=[b"a" * 60_000])
        assert await assigned(it, agent) == []
        await it.advance(1)
        await it.settle()
        agent.receive()
        assert [chunk.run_ids for chunk in agent.chunks] == [run_id]
        assert agent.agent.credit == 0

    play(scenario, memory=LITTLE)


def test_a_run_that_went_elsewhere_while_its_chunk_was_read_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=3)
        reads = SlowReads(it, monkeypatch)
        ids = await client.submit(3, args=[b"a" * 60_000, b"b" * 60_000, b"c" * 60_000])
        await dispatch_slowly(reads, monkeypatch)
        epoch = agent.agent.held[ids[1]].epoch
        agent.send(given_back=[ap.RunKey(run_id=ids[1], epoch=epoch)])
        reads.end()
        await it.settle()
        agent.receive()
        assert [chunk.run_ids for chunk in agent.chunks] == [ids[0], ids[2]]
        assert agent.agent.credit == 1
        other = it.agent("b")
        assert await assigned(it, other) == [ids[1]]
        assert other.assigned[ids[1]] > epoch

    play(scenario, memory=LITTLE)
