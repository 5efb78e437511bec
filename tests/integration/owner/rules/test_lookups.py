"""What is asked of the database on the way: cache keys, upstream runs, the backlog, and answers that fail."""

import asyncio
from typing import Any

import pytest
from support.owner_harness import World, assigned, play

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_contract.errors import ErrorReason, RunNotFound, StorageUnavailable
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import ReportKind, RunState, StateReason, UpstreamKind
from taskyard_controlplane.domain.memory import MemoryLimits

S = RunState


def fail_once(it: World, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let a look-up find no answer the next time."""
    read = getattr(it.store, name)

    def failing(*args: Any) -> Any:
        monkeypatch.setattr(it.store, name, read)
        raise StorageUnavailable("it did not answer")

    monkeypatch.setattr(it.store, name, failing)


def test_a_hit_does_not_make_a_result_younger() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        keyed: dict[str, Any] = {"cache_keys": ["k"], "cache_expiration_ms": 60_000}
        [first] = await client.submit(**keyed)
        await assigned(it, agent)
        agent.report([first])
        await it.settle()
        it.clock.seconds += 40
        await client.submit(**keyed)
        assert await assigned(it, agent) == []
        it.clock.seconds += 40
        assert await client.submit(**keyed) == await assigned(it, agent)

    play(scenario)


def test_only_results_fill_the_cache() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [failed] = await client.submit(cache_keys=["k"])
        await assigned(it, agent)
        agent.report([failed], kind=ReportKind.FAILED)
        await it.settle()
        [cancelled] = await client.submit(cache_keys=["k"])
        assert await assigned(it, agent) == [cancelled]
        await it.owner.cancel(cancelled)
        agent.report([cancelled])
        await it.settle()
        assert client.state_of(cancelled) == S.CANCELLED
        [third] = await client.submit(cache_keys=["k"])
        assert await assigned(it, agent) == [third]

    play(scenario)


def test_a_refreshing_run_replaces_the_result() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [first] = await client.submit(cache_keys=["k"])
        await assigned(it, agent)
        agent.report([first])
        await it.settle()
        it.clock.seconds += 5
        [fresh] = await client.submit(cache_keys=["k"], refresh_cache=True)
        assert await assigned(it, agent) == [fresh]
        agent.report([fresh])
        await it.settle()
        [later] = await client.submit(cache_keys=["k"])
        await it.settle()
        found = await it.ask(lambda: it.store.runs_by_id([fresh, later]))
        seqs = {row.run_id: row.seq for row in found}
        assert client.state_of(later) == S.COMPLETED
        assert client.outcomes[later].reason == StateReason.CACHED
        assert seqs[fresh] < seqs[later]

    play(scenario)


def test_a_failed_refresh_leaves_the_result_in_the_cache() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [first] = await client.submit(cache_keys=["k"])
        await assigned(it, agent)
        agent.report([first])
        await it.settle()
        [fresh] = await client.submit(cache_keys=["k"], refresh_cache=True)
        assert await assigned(it, agent) == [fresh]
        agent.report([fresh], kind=ReportKind.FAILED)
        await it.settle()
        [later] = await client.submit(cache_keys=["k"])
        assert await assigned(it, agent) == []
        assert client.state_of(later) == S.COMPLETED
        assert int(client.outcomes[later].reason) == StateReason.CACHED

    play(scenario)


def test_a_run_that_was_cancelled_while_its_key_was_on_the_way_leads_nobody() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        first, second = await client.submit(2)
        await assigned(it, agent)
        agent.report([first], kind=ReportKind.CACHE_KEY, cache_key="k")
        await client.send(cancel=[first])  # both go with one commit
        await it.settle()
        assert client.state_of(first) == S.CANCELLED
        agent.report([second], kind=ReportKind.CACHE_KEY, cache_key="k")
        assert await assigned(it, agent) == [second]
        assert len(it.shard.cache.flight("k")) <= 1

    play(scenario)


def test_a_run_in_the_middle_of_a_flight_can_be_cancelled() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        ids = await client.submit(4, cache_keys=["k"] * 4)
        assert await assigned(it, agent) == ids[:1]
        await client.send(cancel=[ids[1]])
        await it.settle()
        assert await assigned(it, agent) == []
        agent.report(ids[:1], kind=ReportKind.FAILED)
        assert await assigned(it, agent) == [ids[2]]
        agent.report([ids[2]])
        await it.settle()
        states = [client.state_of(run_id) for run_id in ids]
        assert states == [S.FAILED, S.CANCELLED, S.COMPLETED, S.COMPLETED]
        assert not it.shard.cache.under_way

    play(scenario)


def test_a_leader_that_is_tried_again_still_leads() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        first, second = await client.submit(2, cache_keys=["k"] * 2, retry={"max_retries": 1})
        assert await assigned(it, agent) == [first]
        agent.report([first], kind=ReportKind.FAILED)
        assert await assigned(it, agent) == [first]
        agent.report([first])
        await it.settle()
        assert client.state_of(second) == S.COMPLETED

    play(scenario)


def test_an_id_used_before_holds_up_neither_its_key_nor_who_waits_for_it() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [used] = await client.submit()
        await assigned(it, agent)
        agent.report([used])
        await it.settle()
        it.shard.book.recent.clear()
        await client.submit(run_ids=[used], cache_keys=["k"])
        [downstream] = await client.submit(upstream=[(0, used)])
        [equal] = await client.submit(cache_keys=["k"])
        assert set(await assigned(it, agent)) == {downstream, equal}
        assert agent.inputs_of(downstream) == {used: b"result"}
        client.receive()
        assert client.refused.keys() == {used}

    play(scenario)


def test_an_upstream_run_that_arrives_while_it_is_looked_up_is_waited_for() -> None:
    async def scenario(it: World) -> None:
        client, other, agent = it.client(), it.client(), it.agent()
        it.store.small_commits_are_fast = False
        upstream = new_id()
        [downstream] = await client.submit(upstream=[(0, upstream)])
        await asyncio.sleep(0)  # the commit that looks for it is under way
        await other.submit(run_ids=[upstream])
        assert await assigned(it, agent) == [upstream]
        agent.report([upstream])
        assert await assigned(it, agent) == [downstream]
        assert agent.inputs_of(downstream) == {upstream: b"result"}

    play(scenario)


@pytest.mark.parametrize("ends", [False, True])
def test_a_run_waits_for_an_upstream_run_of_the_backlog(ends: bool) -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        ids = await client.submit(9)
        await it.settle()
        downstream = [
            *await client.submit(upstream=[(0, ids[-1])]),
            *await client.submit(upstream=[(0, ids[-1])]),
            *await client.submit(upstream=[(0, ids[-1], UpstreamKind.ORDER)]),
        ]
        await it.settle()
        if ends:
            await it.owner.cancel(ids[-1])
            await it.settle()
            assert [client.state_of(run_id) for run_id in downstream] == [S.NOT_READY] * 3
            return
        agent, seen = it.agent(credit=9), list[bytes]()
        while new := await assigned(it, agent):
            seen += new
            agent.report(new)
        assert sorted(seen[-3:]) == sorted(downstream)
        inputs = [agent.inputs_of(run_id) for run_id in downstream]
        assert inputs == [{ids[-1]: b"result"}, {ids[-1]: b"result"}, {}]
        assert not it.shard.upstream.awaited

    play(scenario, window=3)


def test_the_backlog_is_read_again_after_an_answer_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=9)
        fail_once(it, monkeypatch, "backlog_page")
        ids = await client.submit(9)
        seen = list[bytes]()
        for _ in range(8):
            new = await assigned(it, agent)
            seen += new
            agent.report(new)
            await it.advance(1)
        assert seen == ids

    play(scenario, window=3)


@pytest.mark.parametrize("name", ["backlog_of_session", "backlog_of_flow"])
def test_ending_what_is_in_the_backlog_is_tried_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        flow = await client.start_flow()
        ids = await client.submit(9, flow=flow)
        await it.settle()
        fail_once(it, monkeypatch, name)
        if name == "backlog_of_flow":
            await it.owner.cancel(flow)
        else:
            await client.send(goodbye=True)
        await it.settle()
        assert (await it.history(ids[-1]))[-1] == S.READY
        await it.advance(2)
        assert [(await it.history(run_id))[-1] for run_id in ids] == [S.CANCELLED] * 9

    play(scenario, window=3)


def test_a_session_that_comes_back_while_its_backlog_is_ended_stays() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        ids = await client.submit(9)
        await it.settle()
        client.disconnect()
        it.owner.connections.clients.lost(client.session)
        again = it.client(client.session.session_id)
        await again.send(subscribe=ids)
        await it.settle()
        assert [session.session_id for session in it.owner.sessions] == [client.session.session_id]
        assert [again.state_of(run_id) for run_id in ids] == [S.CANCELLED] * 9

    play(scenario, window=3)


def test_a_run_of_the_backlog_tells_the_session_that_asked_last() -> None:
    async def scenario(it: World) -> None:
        client, other = it.client(), it.client()
        ids = await client.submit(9)
        await it.settle()
        unknown = new_id()
        await other.send(subscribe=[ids[0], ids[-1], unknown])
        other.receive()
        assert {run_id: one.error.reason for run_id, one in other.refused.items()} == {
            unknown: ErrorReason.RUN_NOT_FOUND
        }
        agent = it.agent(credit=9)
        while new := await assigned(it, agent):
            agent.report(new)
        assert [other.state_of(run_id) for run_id in (ids[0], ids[-1])] == [S.COMPLETED] * 2
        assert not it.shard.stored.awaited

    play(scenario, window=3)


def test_runs_on_their_way_to_the_backlog_are_found() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        await client.submit(queue="other")
        await it.settle()
        ids = await client.submit(9)
        assert await it.owner.cancel(ids[-1]) == S.CANCELLED

    play(scenario, window=3)


def test_a_run_of_the_backlog_that_has_ended_does_not_start() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        ids = await client.submit(9)
        await it.settle()
        assert [await it.owner.cancel(run_id) for run_id in ids[4:6]] == [S.CANCELLED] * 2
        agent, seen = it.agent(credit=9), list[bytes]()
        while new := await assigned(it, agent):
            seen += new
            agent.report(new)
        assert seen == [*ids[:4], *ids[6:]]
        with pytest.raises(RunNotFound):
            await it.owner.wait_ended(new_id())

    play(scenario, window=3)


def test_results_that_could_not_be_sent_are_given_to_whoever_holds_the_run_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run that was lost meanwhile, and assigned anew, is not taken from its new holder."""

    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=1)
        fail_once(it, monkeypatch, "payloads")
        [run_id] = await client.submit(args=[b"a" * 60_000])
        await it.settle()
        [epoch] = [run.epoch for run in agent.agent.held.values()]
        agent.send(lost=[ap.LostRun(key=ap.RunKey(run_id=run_id, epoch=epoch))])
        assert await assigned(it, agent) == [run_id]
        await it.advance(2)
        assert agent.receive() == []
        assert list(agent.agent.held) == [run_id]

    play(scenario, memory=MemoryLimits(payload=1_000))


def test_a_run_submitted_while_somebody_subscribes_to_it_is_told() -> None:
    async def scenario(it: World) -> None:
        client, other, agent = it.client(), it.client(), it.agent()
        stored, run_id = it.shard.stored, new_id()
        look_up = stored.heads

        async def meanwhile(run_ids: list[bytes]) -> Any:
            rows = await look_up(run_ids)
            await other.submit(run_ids=[run_id])
            return rows

        stored.heads = meanwhile
        await client.send(subscribe=[run_id])
        assert await assigned(it, agent) == [run_id]
        agent.report([run_id])
        await it.settle()
        assert client.state_of(run_id) is not None or run_id in client.refused

    play(scenario)
