"""Sessions take turns, whatever is in memory and what only in the database, also after a restart."""

import asyncio
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.owner_harness import Agent, World, assigned, lose, play, started, world

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import common_pb2, run_service_pb2, template_pb2
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import RunKind
from taskyard_controlplane.owner.peers.client_session import share_number
from taskyard_controlplane.owner.queueing import backlog, parking
from taskyard_controlplane.owner.queueing.backlog import LEAST_WINDOW, WINDOW

CODE = template_pb2.Code(task_name="task")


A_TURN = 4
"""Most runs in a turn: they take 10 ms each, but those of a new template are not known to."""


def one_at_a_time(agent: Agent) -> None:
    agent.granted = 1
    agent.send(credit=ap.Credit(granted_total=1, chunk_size=1))


async def drain(it: World, agent: Agent, most: int = 1_000) -> list[bytes]:
    """Let an agent execute one run after the other; returns them in order."""
    seen: list[bytes] = []
    while len(seen) < most and (new := await assigned(it, agent)):
        seen += new
        agent.report(new, took_us=10_000)
    return seen


def turns(seen: list[bytes], *groups: list[bytes]) -> str:
    names = {run_id: name for name, group in zip("abc", groups, strict=False) for run_id in group}
    return "".join(names.get(run_id, "-") for run_id in seen)


@pytest.mark.parametrize("window", [WINDOW, 10])
def test_a_run_of_another_session_starts_at_once_however_many_are_queued(window: int) -> None:
    async def scenario(it: World) -> None:
        crowd, other, agent = it.client(), it.client(), it.agent(credit=0)
        many = [run_id for _ in range(5) for run_id in await crowd.submit(40)]
        await it.settle()
        [one] = await other.submit()
        await it.settle()
        one_at_a_time(agent)
        seen = await drain(it, agent)
        assert seen.index(one) <= A_TURN
        assert [run_id for run_id in seen if run_id != one] == many, "those of one session in their order"

    play(scenario, window=window)


def test_sessions_beyond_the_window_take_turns_in_their_order() -> None:
    async def scenario(it: World) -> None:
        clients = [it.client() for _ in range(3)]
        groups: list[list[bytes]] = [[], [], []]
        for _ in range(4):
            for group, client in zip(groups, clients, strict=True):
                group += await client.submit(30)
        await it.settle()
        agent = it.agent(credit=0)
        one_at_a_time(agent)
        seen = await drain(it, agent)
        for group in groups:
            assert [run_id for run_id in seen if run_id in set(group)] == group
        for start in range(0, 360, 5 * A_TURN):
            assert set(turns(seen[start : start + 5 * A_TURN], *groups)) == set("abc"), "all the time"
        assert it.owner.backlog_count() == 0

    play(scenario, window=12)


def test_the_window_of_each_session_is_the_smaller_the_more_there_are() -> None:
    async def scenario(it: World) -> None:
        clients = [it.client() for _ in range(4)]
        for client in clients:
            await client.submit(LEAST_WINDOW * 4)
            await it.settle()
        for client in clients:
            await client.submit(LEAST_WINDOW * 4)
        await it.settle()
        in_memory = len(it.runs)
        assert in_memory < LEAST_WINDOW * 4 * 3, in_memory
        assert it.owner.backlog_count() + in_memory == LEAST_WINDOW * 4 * 8

    play(scenario, window=LEAST_WINDOW * 4)


def test_after_a_restart_sessions_take_turns_from_the_first_run_on(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/yard.db"

    async def main() -> None:
        first = await started(url, 10)
        crowd, other = first.client(), first.client()
        many = [run_id for _ in range(5) for run_id in await crowd.submit(20)]
        few = [run_id for _ in range(5) for run_id in await other.submit(5)]
        await first.settle()
        assert first.owner.backlog_count() > 100
        await lose(first)
        async with world(url, window=10) as second:
            agent = second.agent(credit=0)
            await second.settle()
            assert len(second.runs) <= 30, "of what is in the database alone only a part was read"
            one_at_a_time(agent)
            seen = await drain(second, agent)
            assert sorted(seen) == sorted(many + few)
            assert [run_id for run_id in seen if run_id in set(many)] == many
            assert [run_id for run_id in seen if run_id in set(few)] == few
            assert seen.index(few[0]) <= A_TURN
            assert set(turns(seen[10:50], many, few)) == set("ab")
            assert second.shard.backlog._last_read == {}, "nothing is kept of lanes that are no more"

    asyncio.run(asyncio.wait_for(main(), 30))


def test_a_backlog_of_an_earlier_release_is_emptied_before_what_comes_later(tmp_path: Path) -> None:
    """Its lanes are not kept by session; a session's later runs must not overtake its own."""
    url = f"sqlite:///{tmp_path}/yard.db"

    async def main() -> None:
        first = await started(url, 4)
        client = first.client()
        ids = [run_id for _ in range(3) for run_id in await client.submit(4)]
        await first.settle()
        before = first.shard.backlog._counts
        [(lane, _)] = before
        need = next(iter(first.runs.values())).template.need.lane
        assert lane.startswith(need), "it is named by its need"
        await lose(first)
        with sqlite3.connect(tmp_path / "yard.db") as database:
            database.execute("UPDATE backlog SET queue = ?", (need,))
        database.close()
        async with world(url, window=4) as second:
            client = second.client(client.session.session_id)
            ids += await client.submit(3)
            await second.settle()
            agent = second.agent(credit=0)
            one_at_a_time(agent)
            assert await drain(second, agent) == ids

    asyncio.run(asyncio.wait_for(main(), 30))


def test_parked_runs_of_one_session_do_not_hold_up_those_of_another() -> None:
    async def scenario(it: World) -> None:
        crowd, other, agent = it.client(), it.client(), it.agent(credit=0)
        [gate] = await crowd.submit()
        many = await crowd.submit(60, upstream=[(at, gate) for at in range(60)])
        [up] = await other.submit()
        [one] = await other.submit(upstream=[(0, up)])
        await it.settle()
        assert it.shard.parking.count() == 61
        one_at_a_time(agent)
        seen = await drain(it, agent)
        assert sorted(seen) == sorted([gate, up, one, *many])
        assert seen.index(one) <= 3 * A_TURN

    play(scenario, most_open=0, window=10)


@pytest.mark.parametrize("parked", [False, True])
def test_parked_runs_are_kept_by_session_after_a_restart(parked: bool, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/yard.db"
    options: dict[str, Any] = {"window": 10, "most_open": 0 if parked else 1_000}

    async def main() -> None:
        first = World(url, **options)
        await first.owner.start()
        crowd, other = first.client(), first.client()
        [gate] = await crowd.submit()
        many = await crowd.submit(60, upstream=[(at, gate) for at in range(60)])
        [up] = await other.submit()
        [one] = await other.submit(upstream=[(0, up)])
        await first.settle()
        await lose(first)
        async with world(url, **options) as it:
            agent = it.agent(credit=0)
            await it.settle()
            one_at_a_time(agent)
            seen = await drain(it, agent)
            assert sorted(seen) == sorted([gate, up, one, *many])
            assert seen.index(one) <= 3 * A_TURN

    asyncio.run(asyncio.wait_for(main(), 30))


def test_runs_of_nobody_are_one_share() -> None:
    async def scenario(it: World) -> None:
        await it.owner.submit_unowned([new_run() for _ in range(20)], [])
        client = it.client()
        [one] = await client.submit()
        agent = it.agent(credit=0)
        await it.settle()
        one_at_a_time(agent)
        seen = await drain(it, agent)
        assert len(seen) == 21
        assert seen.index(one) <= A_TURN
        assert {chunk.share for chunk in agent.chunks} == {0, share_number(client.session.session_id)}

    play(scenario, window=5)


def new_run() -> run_service_pb2.NewRun:
    template = template_pb2.RunTemplate(kind=int(RunKind.TASK), name="task", queue="default", code=CODE)  # type: ignore[arg-type]
    return run_service_pb2.NewRun(run_id=new_id(), template=template, args=common_pb2.Payload())


def test_what_workers_submit_takes_the_turns_of_their_program() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=1, chunk=1)
        [caller] = await client.submit()
        await assigned(it, agent)
        inner = [it.client(caller_run_id=caller) for _ in range(3)]
        for each in inner:
            await each.submit(2)
        await client.submit(3)
        await it.client().submit(3)
        await it.settle()
        agent.send(credit=ap.Credit(granted_total=50, chunk_size=1))
        await assigned(it, agent)
        mine = share_number(client.session.session_id)
        assert sum(chunk.share == mine for chunk in agent.chunks) == 1 + 6 + 3
        assert len({chunk.share for chunk in agent.chunks}) == 2
        nested = [chunk.nested for chunk in agent.chunks if chunk.share == mine]
        assert nested == [False, *[True] * 6, *[False] * 3]

    play(scenario)


def test_who_crowds_an_agent_does_not_keep_others_from_it() -> None:
    async def scenario(it: World) -> None:
        client, other, busy = it.client(), it.client(), it.agent("busy", credit=1, chunk=1)
        [caller] = await client.submit()
        await assigned(it, busy)
        [nested] = await it.client(caller_run_id=caller).submit()
        await client.submit(3)
        [one] = await other.submit()
        agent = it.agent("crowded", credit=0)
        crowds = share_number(client.session.session_id)
        credit = ap.Credit(granted_total=9, chunk_size=1, nested_only=True)
        agent.send(
            credit=ap.Credit(granted_total=9, chunk_size=1, nested_only=True, nested_only_shares=[crowds])
        )
        assert sorted(await assigned(it, agent)) == sorted([nested, one])
        [late] = await other.submit()
        assert await assigned(it, agent) == [late]
        agent.send(credit=credit)  # as one says that knows no sessions, or where as many wait as may
        await other.submit()
        assert await assigned(it, agent) == []

    play(scenario)


def test_who_is_ahead_of_a_run_can_be_asked() -> None:
    async def scenario(it: World) -> None:
        crowd, client = it.client(), it.client()
        await crowd.submit(7)
        ids = await client.submit(3)
        await crowd.submit(2, priority=-1)
        await crowd.submit(2, priority=1)
        await it.settle()
        ahead = it.shard.dispatcher.ahead_of(it.runs[ids[2]])
        theirs, mine = (share_number(each.session.session_id) for each in (crowd, client))
        assert [(each.priority, each.share, each.runs) for each in ahead] == [
            (-1, theirs, 2),
            (0, theirs, 7),
            (0, mine, 2),
        ]
        assert ahead[1].next_run.session is crowd.session
        assert it.shard.backlog.beyond(theirs, 0) == 0
        await crowd.submit(30)
        await it.settle()
        assert 0 < it.shard.backlog.beyond(theirs, 0) == it.owner.backlog_count()

    play(scenario, window=20)


def test_lanes_of_parked_runs_are_used_again_and_shared_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parking, "OWN_LANES", 2)

    async def scenario(it: World) -> None:
        agent = it.agent(credit=0)
        one_at_a_time(agent)
        for _ in range(3):
            ids: list[bytes] = []
            for client in [it.client() for _ in range(4)]:
                [gate] = await client.submit()
                ids += [gate, *await client.submit(5, upstream=[(at, gate) for at in range(5)])]
            await it.settle()
            assert it.shard.parking.count() == 20
            assert sorted(await drain(it, agent)) == sorted(ids)
            assert len(it.shard.parking._lanes) <= 3, "two of sessions, and one of all others"

    play(scenario, most_open=0, window=10)


def test_very_many_lanes_are_not_looked_at_with_each_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "FEW_LANES", 2)

    async def scenario(it: World) -> None:
        clients = [it.client() for _ in range(3)]
        ids = [run_id for client in clients for run_id in await client.submit(12)]
        await it.settle()
        lanes = it.shard.backlog
        assert len(lanes._counts) == 3
        looked = Counter[str]()
        low = lanes._low

        def counted(key: tuple[str, int], others: int) -> int:
            looked[key[0]] += 1
            return low(key, others)

        monkeypatch.setattr(lanes, "_low", counted)
        await it.advance(1)
        before = looked.total()
        for _ in range(5):
            lanes.refill()
        assert looked.total() == before
        agent, seen = it.agent(credit=1_000), list[bytes]()
        while len(seen) < len(ids):
            new = await assigned(it, agent)
            agent.report(new)
            seen += new
            await it.advance(0.001)
        assert sorted(seen) == sorted(ids)
        await it.advance(1)
        assert not lanes._counts

    play(scenario, window=6)
