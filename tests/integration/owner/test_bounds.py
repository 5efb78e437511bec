"""What the owner keeps is bounded by what is open."""

import asyncio
from typing import Any

import pytest
from support.owner_harness import Agent, Client, World, assigned, play

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.errors import ErrorReason
from taskyard_contract.states import FlowEvent
from taskyard_controlplane.owner.journal import run_book
from taskyard_controlplane.owner.journal.restoring import read_dispatches
from taskyard_controlplane.owner.queueing import ceilings


async def complete(it: World, client: Client, agent: Agent, count: int) -> list[bytes]:
    """Let some runs complete."""
    ids = await client.submit(count)
    assert await assigned(it, agent) == ids
    agent.report(ids)
    await it.settle()
    return ids


def test_outcomes_are_kept_at_hand_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_book, "MAX_RECENT", 4)

    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        for _ in range(5):
            ids = await complete(it, client, agent, 3)
            assert len(it.shard.book.recent) <= 8
            assert set(ids) <= it.shard.book.recent.keys()

    play(scenario)


def test_large_outcomes_are_not_kept_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_book, "MAX_RECENT_BYTES", len(b"result") - 1)

    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await complete(it, client, agent, 1)
        assert not it.shard.book.recent
        [downstream] = await client.submit(upstream=[(0, run_id)])
        assert await assigned(it, agent) == [downstream]
        assert agent.inputs_of(downstream) == {run_id: b"result"}

    play(scenario)


def test_dispatches_stay_recorded_as_long_as_one_of_their_runs_is_open() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(chunk=2)

        async def recorded() -> int:
            await client.submit(queue="nobody")  # dispatches come and go with other commits
            await it.settle()
            return len(await it.ask(it.store.dispatches))

        ids = await client.submit(4)
        assert await assigned(it, agent) == ids
        assert await recorded() == 2
        agent.report(ids[:1])
        await it.settle()
        assert await recorded() == 2
        agent.report(ids[1:2])
        await it.settle()
        assert await recorded() == 1
        agent.send(given_back=[agent.key(ids[2])])
        agent.send(lost=[ap.LostRun(key=agent.key(ids[3]))])
        agent.report(await assigned(it, agent))
        await it.settle()
        assert await recorded() == 0
        assert not it.shard.dispatcher.log.entries

    play(scenario)


def test_nothing_is_kept_for_a_client_without_a_stream() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        flow = await client.start_flow()
        ids = await client.submit(3, flow=flow)
        await assigned(it, agent)
        client.receive()
        client.disconnect()
        logs = sp.LogBatch(
            run_ids=ids[:1], at_us=[1], levels=[20], loggers=["l"], messages=["m"], run_names=["n"]
        )
        agent.send(logs=logs)
        agent.report(ids)
        await it.settle()
        assert client.session.next_frame() is None

    play(scenario)


def test_ended_flow_runs_are_let_go() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        for event in (FlowEvent.SUCCEEDED, FlowEvent.INTERRUPTED):
            flow = await client.start_flow()
            assert len(client.session.executing) == len(it.shard.book.flows_by_seq) == 1
            await client.send(flow_reports=[sp.FlowReport(run_id=flow, event=int(event))])  # type: ignore[arg-type]
            await it.settle()
            assert not client.session.executing
            assert not it.shard.book.flows_by_seq

    play(scenario)


def test_lost_sessions_are_let_go() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        client.disconnect()
        await it.advance_slowly(40)
        assert it.owner.sessions == []

    play(scenario)


def test_more_than_can_be_committed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "MAX_UNCOMMITTED_RUNS", 3)

    async def scenario(it: World) -> None:
        client = it.client()
        taken, refused = await client.submit(5), await client.submit(2)
        await it.settle()
        client.receive()
        assert client.acknowledged == 2
        assert {run_id: one.error.reason for run_id, one in client.refused.items()} == dict.fromkeys(
            refused, ErrorReason.OVERLOADED
        )
        assert it.runs.keys() == set(taken)

    play(scenario)


def test_whoever_stops_waiting_for_a_run_is_forgotten() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit()
        await assigned(it, agent)
        waiting = [asyncio.ensure_future(it.owner.wait_ended(run_id)) for _ in range(2)]
        await it.settle()
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
        assert it.shard.watchers.count(run_id) == 1
        agent.report([run_id])
        await it.settle()
        assert waiting[1].done()
        assert not len(it.shard.watchers)

    play(scenario)


def test_a_burst_leaves_only_a_window_in_memory() -> None:
    """Also when it comes in several batches before the first of them is recorded."""

    async def scenario(it: World) -> None:
        client = it.client()
        ids = [run_id for _ in range(6) for run_id in await client.submit(3, name="same")]
        await it.settle()
        assert it.owner.open_count() <= 10
        assert it.owner.open_count() + it.owner.backlog_count() == 18
        agent, seen = it.agent(credit=3), list[bytes]()
        while new := await assigned(it, agent):
            seen += new
            agent.report(new)
            await it.settle()
        assert seen == ids
        spilled: list[Any] = []
        store: Any = it.store
        commit = store.commit

        def noted(batch: Any) -> Any:
            spilled.extend(batch.backlog_added)
            return commit(batch)

        store.commit = noted
        await client.submit(3, name="same")
        await it.settle()
        assert spilled == []  # what has passed through counts no more

    play(scenario, window=10)


def test_one_long_run_does_not_keep_every_later_dispatch() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=50, chunk=1)
        [long_run] = await client.submit()
        assert await assigned(it, agent) == [long_run]
        for _ in range(200):
            ids = await client.submit()
            assert await assigned(it, agent) == ids
            agent.report(ids)
        await it.settle()
        assert it.owner.open_count() == 1
        rows = await it.ask(it.store.dispatches)
        assert max(len(it.shard.dispatcher.log.entries), len(rows)) < 100
        assert read_dispatches(rows, {"a": 7})[it.runs[long_run].seq] == (agent.assigned[long_run], ("a", 7))

    play(scenario)
