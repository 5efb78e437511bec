"""Inputs of runs: results that are blobs, and chunks too large for a frame, which are stored first."""

import asyncio
import threading
from typing import Any

import pytest
from support.owner_harness import World, assigned, play

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import common_pb2
from taskyard_contract.errors import StorageUnavailable
from taskyard_contract.states import ReportKind, RunState

S = RunState


class SlowBlobs:
    """A store whose first blob takes until it is told how that ends."""

    def __init__(self, it: World, patched: pytest.MonkeyPatch) -> None:
        self._put = it.store.put_blob
        self._go = threading.Event()
        self._fails = False
        self.asked = threading.Event()
        patched.setattr(it.store, "put_blob", self._first)

    def _first(self, digest: bytes, data: bytes) -> None:
        self.asked.set()
        assert self._go.wait(10)
        if self._fails:
            raise StorageUnavailable("not now")
        self._put(digest, data)

    def end(self, *, fails: bool = False) -> None:
        self._fails = fails
        self._go.set()


async def dispatch_slowly(it: World, blobs: SlowBlobs, patched: pytest.MonkeyPatch) -> None:
    """Let a run be assigned whose chunk is on its way into the store."""
    patched.setattr("taskyard_controlplane.owner.queueing.delivery.MAX_BODY_BYTES", 50_000)
    assert await asyncio.to_thread(blobs.asked.wait, 10)
    patched.undo()


def test_a_chunk_stored_for_an_old_stream_is_not_sent_on_the_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=1)
        blobs = SlowBlobs(it, monkeypatch)
        [run_id] = await client.submit(args=[b"a" * 60_000])
        await dispatch_slowly(it, blobs, monkeypatch)
        again = it.agent(session_id=agent.session_id, credit=1)
        blobs.end()
        await it.settle()
        assert again.receive() == []
        await it.advance(3)
        assert again.receive() == [run_id]
        assert len(again.chunks) == 1

    play(scenario)


def test_a_run_that_was_lost_before_its_chunk_was_stored_stays_where_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=2)
        blobs = SlowBlobs(it, monkeypatch)
        [run_id] = await client.submit(args=[b"a" * 60_000])
        await dispatch_slowly(it, blobs, monkeypatch)
        [epoch] = [run.epoch for run in agent.agent.held.values()]
        agent.send(lost=[ap.LostRun(key=ap.RunKey(run_id=run_id, epoch=epoch))])
        blobs.end(fails=True)
        assert await assigned(it, agent) == [run_id]
        await it.advance(3)
        assert agent.receive() == []
        agent.report([run_id])
        await it.settle()
        assert client.state_of(run_id) == S.COMPLETED

    play(scenario)


def test_a_run_cancelled_before_its_chunk_was_stored_is_cancelled_behind_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=1)
        blobs = SlowBlobs(it, monkeypatch)
        [run_id] = await client.submit(args=[b"a" * 60_000])
        await dispatch_slowly(it, blobs, monkeypatch)
        await client.send(cancel=[run_id])
        agent.agent.next_frame()
        blobs.end()
        await it.settle()
        frame: Any = agent.agent.next_frame()
        assert [chunk.run_ids for chunk in frame.chunks] == [run_id]
        assert {key.run_id for key in frame.cancel} == {run_id}

    play(scenario)


def test_an_upstream_result_that_is_a_blob_is_named_by_the_chunk() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [upstream] = await client.submit()
        [downstream] = await client.submit(upstream=[(0, upstream)])
        await assigned(it, agent)
        blob = common_pb2.BlobRef(digest=b"d" * 32, size=9)
        result = common_pb2.Payload(encoding="json/plain", blob=blob)
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
        put_blob = it.store.put_blob

        def failing(digest: bytes, data: bytes) -> None:
            monkeypatch.setattr(it.store, "put_blob", put_blob)
            raise StorageUnavailable("not now")

        monkeypatch.setattr(it.store, "put_blob", failing)
        [run_id] = await client.submit(args=[b"a" * 60_000])
        monkeypatch.setattr("taskyard_controlplane.owner.queueing.delivery.MAX_BODY_BYTES", 50_000)
        assert await assigned(it, agent) == []
        await it.advance(1)
        await it.settle()
        agent.receive()
        assert [chunk.run_ids for chunk in agent.chunks] == [run_id]
        assert agent.agent.credit == 0

    play(scenario)
