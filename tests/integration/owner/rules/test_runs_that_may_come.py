"""Runs that wait for others which may never be submitted, or later: they ask when nothing else keeps them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from support.owner_harness import Client, World, assigned, kill_and_restart, play
from support.owner_model import InlineExecutor

from taskyard_contract.errors import ErrorReason, StorageFull
from taskyard_contract.id_factory import new_id, new_ids
from taskyard_contract.states import RunKind, RunState, UpstreamKind
from taskyard_controlplane.owner.rules import upstream

S = RunState
NOT_COMPLETED, ORDER, IF_SUBMITTED = UpstreamKind.NOT_COMPLETED, UpstreamKind.ORDER, UpstreamKind.IF_SUBMITTED


async def spin() -> None:
    """Let happen what needs neither time nor the database."""
    for _ in range(9):
        await asyncio.sleep(0)


async def kept_until(client: Client, up: bytes, *may_come: bytes, **options: Any) -> bytes:
    """Submit a run that waits for one, and for others in case that they come."""
    edges = [(0, up, ORDER), *((0, each, IF_SUBMITTED) for each in may_come)]
    [run_id] = await client.submit(upstream=edges, **options)
    return run_id


def no_room(it: World) -> None:
    """Have the database refuse all new runs from here on."""
    commit = it.store.commit

    def full(batch: Any) -> Any:
        if batch.new_runs:
            raise StorageFull("no room", retry_after=1.0)
        return commit(batch)

    it.store.commit = full  # type: ignore[method-assign]


def test_others_ask_for_a_run_that_one_has_not_asked_for_yet() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [up, old] = await client.submit(2)
        await assigned(it, agent)
        agent.report([old])
        await it.settle()
        it.shard.book.recent.clear()  # it ended long ago
        await kept_until(client, up, old)
        [other] = await client.submit(upstream=[(0, old, ORDER)])
        assert await assigned(it, agent) == [other]

    play(scenario)


def test_others_are_parked_behind_a_run_that_one_has_not_asked_for_yet() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [up, old] = await client.submit(2)
        await assigned(it, agent)
        agent.report([old])
        await it.settle()
        it.shard.book.recent.clear()
        await kept_until(client, up, old)
        [other] = await client.submit(upstream=[(0, old, ORDER)])
        assert it.shard.parking.count() == 1
        assert await assigned(it, agent) == [other]

    play(scenario, most_open=1)


def test_the_answer_that_one_gets_is_not_that_of_others() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [up] = await client.submit()
        late = new_id()
        kept = await kept_until(client, up, late)
        [at_once] = await client.submit(upstream=[(0, late, IF_SUBMITTED)])
        assert await assigned(it, agent) == [up, at_once], "there is no such run now"
        await client.submit(run_ids=[late])
        assert await assigned(it, agent) == [late]
        agent.report([up])
        assert await assigned(it, agent) == [], "it came while something else was waited for"
        agent.report([late])
        assert await assigned(it, agent) == [kept]

    play(scenario)


@pytest.mark.parametrize("comes", [True, False])
def test_a_run_that_is_named_twice_is_waited_for_once(comes: bool) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [up] = await client.submit()
        late = new_id()
        kept = await kept_until(client, up, late, late)
        if comes:
            await client.submit(run_ids=[late])
        done = await assigned(it, agent)
        agent.report(done)
        assert await assigned(it, agent) == [kept]
        agent.report([kept])
        await it.settle()
        assert not any(it.shard.kept().values())

    play(scenario)


@pytest.mark.parametrize("most_open", [1, 100])
def test_a_run_that_comes_and_waits_for_its_waiter_is_waited_for_by_nobody(most_open: int) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [up] = await client.submit()
        late = new_id()
        kept = await kept_until(client, up, late)
        await client.submit(run_ids=[late], upstream=[(0, kept, ORDER)])
        assert await assigned(it, agent) == [up]
        agent.report([up])
        assert await assigned(it, agent) == [kept]
        agent.report([kept])
        assert await assigned(it, agent) == [late]

    play(scenario, most_open=most_open)


def test_those_that_do_not_go_on_ask_for_nothing() -> None:
    """A transaction that commits ends all its hooks, and there may be ten thousand."""

    async def scenario(it: World) -> None:
        client = it.client()
        [up] = await client.submit()
        ids = [await kept_until(client, up, new_id(), new_id(), outlives=True) for _ in range(9)]
        await it.settle()
        asked, commit = list[bytes](), it.store.commit

        def noted(batch: Any) -> Any:
            asked.extend(batch.lookup_runs)
            return commit(batch)

        it.store.commit = noted  # type: ignore[method-assign]
        await it.owner.cancel(up)
        await it.settle()
        assert not it.runs
        assert {it.reader.run(run_id).run.state for run_id in ids} == {S.NOT_READY}  # type: ignore[union-attr]
        assert not asked
        assert not it.shard.upstream.awaited

    play(scenario)


def test_a_long_chain_of_runs_that_wait_for_the_next_one_costs_what_its_length_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Hooks wait for the one that is called before them, which comes later; there may be ten thousand."""
    looks, waiting_for = list[object](), upstream._waiting_for

    def counted(run: Any) -> Any:
        looks.append(run)
        return waiting_for(run)

    monkeypatch.setattr(upstream, "_waiting_for", counted)

    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [up] = await client.submit()
        ids = new_ids(100)
        edges = [(at, up, ORDER) for at in range(100)]
        edges += [(at, ids[at + 1], IF_SUBMITTED) for at in range(99)]
        await client.submit(run_ids=ids, upstream=edges)
        await assigned(it, agent)
        agent.report([up])
        assert await assigned(it, agent) == ids[-1:]
        assert len(looks) < 300

    play(scenario)


def test_of_a_run_that_was_cancelled_nothing_stays_when_the_others_have_ended() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [up] = await client.submit()
        kept = await kept_until(client, up, new_id(), outlives=True)
        await assigned(it, agent)
        assert await it.owner.cancel(kept) == S.CANCELLED
        agent.report([up])
        await it.settle()
        assert not any(it.shard.kept().values())

    play(scenario)


def test_refused_runs_of_nobody_are_told_to_who_sent_them_and_leave_nothing() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        [up] = await client.submit()
        await it.settle()
        no_room(it)
        kept = await kept_until(client, up, new_id(), outlives=True)
        await it.settle()
        client.receive()
        assert client.refused[kept].error.reason == ErrorReason.STORAGE_FULL
        assert not it.shard.upstream.awaited

    play(scenario)


def test_a_run_that_came_and_was_refused_is_waited_for_no_more() -> None:
    writer = InlineExecutor()

    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [up] = await client.submit()
        late = new_id()
        kept = await kept_until(client, up, late)
        await assigned(it, agent)
        it.store.small_commits_are_fast = False  # type: ignore[misc]
        writer.held = True
        agent.report([up])
        await spin()
        writer.release()
        writer.held = True
        await spin()  # now it asks
        await client.submit(run_ids=[late])
        no_room(it)
        writer.release()
        assert await assigned(it, agent) == [kept]
        client.receive()
        assert late in client.refused

    play(scenario, writer=writer)


@pytest.mark.parametrize("removed", [False, True])
def test_a_flow_run_that_was_lost_long_ago_is_found_and_one_that_was_removed_was_not_lost(
    removed: bool,
) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        flow = await client.start_flow()
        assert await it.owner.cancel(flow)
        await client.send(goodbye=True)
        await it.settle()
        it.shard.book.recent.clear()
        other = it.client()
        upstream = new_id() if removed else flow
        [head] = await other.submit(upstream=[(0, upstream, NOT_COMPLETED)], outlives=True)
        hook = await kept_until(other, head, new_id(), outlives=True)
        assert await assigned(it, agent) == ([] if removed else [head])
        if removed:
            assert {it.reader.run(each).run.state for each in (head, hook)} == {S.NOT_READY}  # type: ignore[union-attr]
            assert not any(it.shard.kept().values())

    play(scenario)


def test_what_would_undo_a_flow_run_that_was_refused_ends() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        await it.settle()
        no_room(it)
        [flow] = await client.submit(kind=RunKind.FLOW, name="flow", queue="")
        await spin()
        [head] = await client.submit(upstream=[(0, flow, NOT_COMPLETED)], outlives=True)
        await it.settle()
        client.receive()
        assert client.refused.keys() == {flow, head}
        assert not it.runs
        assert not any(it.shard.kept().values())

    play(scenario)


@pytest.mark.parametrize("at_work", [False, True])
def test_a_resent_run_of_nobody_is_neither_refused_nor_heard_of(at_work: bool) -> None:
    session_id = new_id()

    async def scenario(it: World) -> None:
        client, agent = it.client(session_id), it.agent()
        run_ids = await client.submit(outlives=True)
        assert await assigned(it, agent) == run_ids
        if not at_work:
            agent.report(run_ids)
            await it.settle()
        client.disconnect()
        again = it.client(session_id)
        await again.submit(run_ids=run_ids, outlives=True, resend=True)
        if at_work:
            agent.report(run_ids)
        await it.settle()
        assert again.state_of(run_ids[0]) is None
        assert not again.refused
        assert again.acknowledged == 1

    play(scenario)


def test_what_began_without_a_run_that_never_came_goes_on_after_a_restart(tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent("a")
        [up] = await client.submit()
        kept = await kept_until(client, up, new_id(), outlives=True)
        await assigned(it, agent)
        agent.report([up])
        assert await assigned(it, agent) == [kept]  # recorded only with the next commit, which never comes
        found.update(agent=agent.session_id, held=[(kept, agent.assigned[kept])])

    async def after(it: World) -> None:
        agent = it.agent("a", session_id=found["agent"], held=found["held"])
        assert agent.adopted == [run_id for run_id, _ in found["held"]]

    kill_and_restart(tmp_path, before, after)


def test_a_run_that_may_come_is_still_waited_for_after_a_restart(tmp_path: Path) -> None:
    found: dict[str, bytes] = {}
    session_id = new_id()

    async def before(it: World) -> None:
        client, agent = it.client(session_id), it.agent()
        [up] = await client.submit()
        late = new_id()
        kept = await kept_until(client, up, late)
        await assigned(it, agent)  # which is not recorded
        found.update(up=up, late=late, kept=kept)

    async def after(it: World) -> None:
        client, agent = it.client(session_id), it.agent()
        await client.submit(run_ids=[found["late"]])
        assert await assigned(it, agent) == [found["up"], found["late"]]
        agent.report([found["up"]])
        assert await assigned(it, agent) == []
        agent.report([found["late"]])
        assert await assigned(it, agent) == [found["kept"]]

    kill_and_restart(tmp_path, before, after)
