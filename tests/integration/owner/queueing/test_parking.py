"""Runs that wait for others and are only in the database: they go on, fail and end like those in memory."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from support.owner_harness import Agent, Client, World, assigned, kill_and_restart, lose, play, started, world

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.errors import StorageFull, StorageUnavailable
from taskyard_contract.id_factory import new_ids
from taskyard_contract.states import FlowEvent, ReportKind, RunState, UpstreamKind
from taskyard_controlplane.owner.journal import queued_endings
from taskyard_controlplane.owner.rules import parked as parked_runs

S = RunState


def parked(it: World) -> int:
    count: int = it.shard.parking.count()
    return count


def take_all(agent: Agent) -> None:
    """Let an agent take whatever there is."""
    agent.granted = 1_000
    agent.send(credit=ap.Credit(granted_total=1_000, chunk_size=1))


async def work(it: World, agent: Agent, rounds: int = 8) -> list[bytes]:
    """Let an agent execute whatever it is given, for a while; returns it in order."""
    seen = list[bytes]()
    for _ in range(rounds):
        agent.heartbeat()
        new = agent.receive()
        seen += new
        agent.report(new)
        await it.advance(1)
    return seen


async def chain(client: Client, length: int, first: bytes) -> list[bytes]:
    ids = [first]
    for _ in range(length):
        ids += await client.submit(upstream=[(0, ids[-1])])
    return ids[1:]


def test_parked_runs_go_on_with_the_results_they_need() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=0)
        ups = await client.submit(3)
        edges = [(0, ups[0]), (0, ups[1]), (1, ups[2]), (2, ups[2], UpstreamKind.ORDER)]
        waiting = await client.submit(3, upstream=edges)
        behind = await chain(client, 3, waiting[0])
        await it.settle()
        assert (parked(it), it.owner.open_count(), it.owner.backlog_count()) == (6, 3, 6)
        take_all(agent)
        executed = await work(it, agent)
        assert sorted(executed) == sorted([*ups, *waiting, *behind])
        assert executed[-3:] == behind
        assert agent.inputs_of(waiting[0]) == dict.fromkeys(ups[:2], b"result")
        assert [agent.inputs_of(run_id) for run_id in waiting[1:]] == [{ups[2]: b"result"}, {}]
        assert [client.state_of(run_id) for run_id in [*waiting, *behind]] == [S.COMPLETED] * 6
        assert not any(it.shard.kept().values())

    play(scenario, most_open=0)


def test_runs_are_parked_only_beyond_so_many_open_ones_and_only_if_they_have_to_wait() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [up] = await client.submit()
        await client.submit(2, upstream=[(0, up), (1, up)])
        await it.settle()
        assert parked(it) == 1
        await work(it, agent)
        assert parked(it) == 0
        for _ in range(3):
            await client.submit(queue="nobody")
        await client.submit(2, upstream=[(0, up), (1, up)])
        await it.settle()
        assert parked(it) == 0
        assert len(await work(it, agent)) == 2

    play(scenario, most_open=2)


@pytest.mark.parametrize("window", [1, 4])
def test_many_that_are_due_at_once_come_back_as_far_as_there_is_room(window: int) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=1, chunk=1)
        [up] = await client.submit()
        ids = await client.submit(30, upstream=[(position, up) for position in range(30)])
        assert await assigned(it, agent) == [up]
        other = await client.submit(queue="nobody")
        agent.report([up])
        agent.granted -= 1
        await it.settle()
        assert 0 < it.owner.open_count() - len(other) <= 2 * window
        later = await client.submit(3)  # do not overtake all that are due
        take_all(agent)
        executed = await work(it, agent, 60)
        assert sorted(executed) == sorted(ids + later)
        assert set(executed[:5]) & set(ids)
        assert [run_id for run_id in executed if run_id in ids] == ids

    play(scenario, most_open=0, window=window)


@pytest.mark.parametrize("kind", [UpstreamKind.DATA, UpstreamKind.DATA_OR_FAILURE])
def test_a_parked_run_ends_as_soon_as_it_cannot_go_on(kind: UpstreamKind) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        ups = await client.submit(2)
        [waiting] = await client.submit(upstream=[(0, ups[0], kind), (0, ups[1])])
        [behind] = await client.submit(upstream=[(0, waiting)])
        await assigned(it, agent)
        agent.report(ups[:1], kind=ReportKind.FAILED)
        await it.advance(1)
        if kind == UpstreamKind.DATA:
            assert [client.state_of(run_id) for run_id in (waiting, behind)] == [S.NOT_READY] * 2
            assert parked(it) == 0
            agent.report(ups[1:])
            await it.settle()
        else:
            assert parked(it) == 2
            agent.report(ups[1:])
            assert (await work(it, agent)) == [waiting, behind]
        assert not any(it.shard.kept().values())

    play(scenario, most_open=0)


def test_a_run_that_waits_for_one_which_never_was_is_told_so() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        [waiting] = await client.submit(upstream=[(0, b"?" * 16)])
        await it.advance(1)
        assert client.state_of(waiting) == S.NOT_READY
        assert not any(it.shard.kept().values())

    play(scenario, most_open=0)


def test_a_result_is_read_when_it_ended_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        ups = await client.submit(2)
        [waiting] = await client.submit(upstream=[(0, up) for up in ups])
        await assigned(it, agent)
        agent.report(ups[:1], value=b"early")
        await it.settle()
        it.shard.book.recent.clear()
        agent.report(ups[1:], value=b"late")
        assert (await work(it, agent)) == [waiting]
        assert agent.inputs_of(waiting) == {ups[0]: b"early", ups[1]: b"late"}

    play(scenario, most_open=0)


def test_parked_runs_are_found_again_after_a_restart(tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    url = f"sqlite:///{tmp_path}/yard.db"

    async def main() -> None:
        first = await started(url, most_open=0)
        client, agent = first.client(), first.agent()
        ups = await client.submit(3)
        waiting = await client.submit(3, upstream=[(0, ups[0]), (1, ups[1]), (2, ups[0]), (2, ups[2])])
        behind = await chain(client, 2, waiting[1])
        found.update(agent=agent, rest=[ups[1]])
        await assigned(first, agent)
        agent.report(ups[2:])
        await first.settle()
        first.shard.parking.refill = lambda: None  # the first of them is due, and nobody comes to read it
        agent.report(ups[:1])
        await first.settle()
        await lose(first)
        async with world(url, most_open=0) as second:
            assert parked(second) == len(waiting) + len(behind)
            assert second.owner.open_count() == 1
            client = second.client(client.session.session_id)
            await client.send(subscribe=[*waiting, *behind])
            held = [(ups[1], agent.assigned[ups[1]])]
            again = second.agent(session_id=agent.session_id, held=held)
            again.assigned.update(agent.assigned)
            assert sorted(await work(second, again)) == sorted([waiting[0], waiting[2]])
            again.report([ups[1]])
            await work(second, again)
            assert again.inputs_of(waiting[2]) == {ups[0]: b"result", ups[2]: b"result"}
            assert [client.state_of(run_id) for run_id in [*waiting, *behind]] == [S.COMPLETED] * 5
            assert not any(second.shard.kept().values())

    asyncio.run(asyncio.wait_for(main(), 30))


def test_recovery_looks_back_to_the_first_parked_run(tmp_path: Path) -> None:
    ids = list[bytes]()

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent()
        [up] = await client.submit()
        ids.extend(await client.submit(upstream=[(0, up)]))
        await assigned(it, agent)
        await it.advance(4)  # upkeep notes how far recovery will have to look back
        agent.report([up])
        await it.advance(1)  # read back, and assigned
        assert agent.receive() == ids
        await it.client().submit(queue="nobody")
        await it.settle()

    async def after(it: World) -> None:
        assert ids[0] in it.runs

    kill_and_restart(tmp_path, before, after, most_open=0)


def test_recovery_does_not_look_back_to_parked_runs_that_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parked_runs, "BLOCK_BITS", 0)

    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        ups = await client.submit(2)
        for up in ups:
            await client.submit(upstream=[(0, up)])
        await assigned(it, agent)
        assert (parked(it), it.shard.parking.low_seq()) == (2, 3)
        agent.report(ups[:1])
        await work(it, agent)
        assert (parked(it), it.shard.parking.low_seq()) == (1, 4)
        agent.report(ups[1:])
        await work(it, agent)
        assert (parked(it), it.shard.parking.low_seq()) == (0, None)

    play(scenario, most_open=0)


@pytest.mark.parametrize("how", ["run", "withdrawn", "flow", "crash", "goodbye"])
def test_parked_runs_end_like_others(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queued_endings, "PART", 2)

    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        flow = await client.start_flow()
        [up] = await client.submit(flow=flow, queue="nobody")
        ids = await client.submit(5, flow=flow, upstream=[(position, up) for position in range(5)])
        ids += await client.submit(flow=flow, upstream=[(0, ids[0])])
        await it.settle()
        assert parked(it) == 6
        if how == "run":
            for run_id in ids:
                await it.owner.cancel(run_id)
        elif how == "withdrawn":
            await client.send(withdraw=ids)
        elif how == "flow":
            await it.owner.cancel(flow)
        elif how == "crash":
            await client.send(flow_reports=[sp.FlowReport(run_id=flow, event=FlowEvent.INTERRUPTED)])  # type: ignore[arg-type]
        else:
            await client.send(goodbye=True)
        await it.advance(1)
        ended = [(await it.history(run_id))[-1] for run_id in ids]
        assert ended == [*[S.CANCELLED] * 5, S.NOT_READY if how == "run" else S.CANCELLED]
        await it.owner.cancel(up)
        await client.send(flow_reports=[sp.FlowReport(run_id=flow, event=FlowEvent.INTERRUPTED)])  # type: ignore[arg-type]
        await work(it, agent)
        assert not any(it.shard.kept().values())

    play(scenario, most_open=0)


def test_what_comes_back_while_all_of_a_flow_are_ended_ends_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queued_endings, "PART", 1)

    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=99, chunk=1)
        flow = await client.start_flow()
        [up] = await client.submit(flow=flow)
        ids = await client.submit(9, flow=flow, upstream=[(position, up) for position in range(9)])
        queued = await client.submit(9, flow=flow)
        await assigned(it, agent)
        # It ends in the same moment, and what waited for it is due while the rest is being cancelled.
        await it.owner.cancel(flow)
        agent.report([up])
        await it.advance(2)
        executed = await work(it, agent)
        ended = [(await it.history(run_id))[-1] for run_id in [*ids, *queued]]
        assert ended.count(S.CANCELLED) == 18 - len(executed)
        assert not set(ids) & set(executed)

    play(scenario, most_open=0, window=2)


def test_parked_runs_that_find_no_room_are_forgotten_and_come_again() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        commit, run_ids = it.store.commit, new_ids(3)
        full = [True]

        def faulty(batch: Any) -> Any:
            if full[0] and batch.new_runs:
                raise StorageFull("no room", retry_after=1.0)
            return commit(batch)

        it.store.commit = faulty  # type: ignore[method-assign]
        await client.submit(run_ids=run_ids[:1])
        await client.submit(run_ids=run_ids[1:], upstream=[(0, run_ids[0]), (1, run_ids[0])])
        for _ in range(50):
            await asyncio.sleep(0.001)
        client.receive()
        assert client.refused.keys() == set(run_ids)
        assert parked(it) == 0
        assert not it.shard.upstream.awaited
        full[0] = False
        await asyncio.sleep(0.1)
        await it.settle()
        await client.submit(run_ids=run_ids[:1])
        await client.submit(run_ids=run_ids[1:], upstream=[(0, run_ids[0]), (1, run_ids[0])])
        assert sorted(await work(it, agent)) == sorted(run_ids)
        assert not any(it.shard.kept().values())

    play(scenario, most_open=0)


def test_an_id_that_is_used_again_does_not_take_the_place_of_a_parked_run() -> None:
    async def scenario(it: World) -> None:
        client, other, agent = it.client(), it.client(), it.agent()
        [up] = await client.submit()
        [waiting] = await client.submit(upstream=[(0, up)])
        await assigned(it, agent)
        read = it.store.heads_by_seq

        def meanwhile(seqs: Any) -> Any:
            it.store.heads_by_seq = read  # type: ignore[method-assign]
            loop.call_soon_threadsafe(asyncio.ensure_future, other.submit(run_ids=[waiting]))
            return read(seqs)

        loop = asyncio.get_running_loop()
        it.store.heads_by_seq = meanwhile  # type: ignore[method-assign]
        agent.report([up])
        assert await work(it, agent) == [waiting]
        other.receive()
        assert waiting in other.refused
        assert client.state_of(waiting) == S.COMPLETED
        assert not any(it.shard.kept().values())

    play(scenario, most_open=0)


def test_what_could_not_be_read_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [up] = await client.submit()
        ids = await client.submit(2, upstream=[(0, up), (1, up)])
        await assigned(it, agent)
        read, failures = it.store.heads_by_seq, [1, 2]

        def failing(seqs: Any) -> Any:
            if failures:
                failures.pop()
                raise StorageUnavailable("it did not answer")
            return read(seqs)

        it.store.heads_by_seq = failing  # type: ignore[method-assign]
        agent.report([up])
        assert await work(it, agent, 12) == ids
        assert not any(it.shard.kept().values())

    play(scenario, most_open=0)
