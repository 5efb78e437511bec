"""Runs of the backlog: each has one record at most, and none is lost or started twice on its way back."""

import asyncio

from support.owner_harness import World, play

from taskyard_api.v1 import run_service_pb2, states_pb2, template_pb2
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.id_factory import new_id, new_ids
from taskyard_contract.states import RunKind, RunState
from taskyard_controlplane.owner.rules.cancelling import Wish

CODE = template_pb2.Code(task_name="task")


def test_a_run_has_one_record() -> None:
    async def scenario(it: World) -> None:
        ids = await it.client().submit(3, queue="nobody")
        await it.settle()
        rows = await it.shard.stored.rows(ids)
        first, second = it.shard.stored.load(rows), it.shard.stored.load(rows)
        assert list(first) == ids
        assert all(first[run_id] is second[run_id] is it.runs[run_id] for run_id in ids)

    play(scenario, window=1)


def test_runs_of_the_backlog_that_belong_to_no_session_get_none() -> None:
    async def scenario(it: World) -> None:
        ids = [new_id() for _ in range(4)]
        template = template_pb2.RunTemplate(
            kind=states_pb2.RUN_KIND_TASK, name="task", queue="default", code=CODE
        )
        new = [run_service_pb2.NewRun(run_id=run_id, template=template) for run_id in ids]
        assert await it.owner.submit_unowned(new, []) == []
        assert it.owner.backlog_count() > 0
        agent, executed = it.agent(credit=4, chunk=1), list[bytes]()
        for _ in range(10):
            await it.advance(1)
            executed += agent.receive()
        assert sorted(executed) == sorted(ids)
        assert it.owner.sessions == []

    play(scenario, window=2)


def test_a_goodbye_behind_a_commit_ends_what_is_on_its_way_to_the_backlog() -> None:
    async def scenario(it: World) -> None:
        other, client = it.client(), it.client()
        it.store.small_commits_are_fast = False
        await other.submit(queue="other")
        await asyncio.sleep(0)  # under way, and what comes now waits for it
        ids = await client.submit(5, queue="nobody")
        await client.send(goodbye=True)
        await it.settle()
        rows = await it.shard.stored.rows(ids)
        assert {row.state for row in rows} == {RunState.CANCELLED}
        assert client.session not in it.owner.sessions

    play(scenario, window=1)


def test_a_run_that_is_cancelled_while_its_page_is_read_stays_cancelled() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=0)
        ids = await client.submit(4, cache_keys=["a", "b", "c", "d"])
        await it.settle()
        last = ids[-1]
        page = await it.shard.stored.rows([last])
        it.shard.cancelling.request(it.shard.stored.load(page).values(), Wish(reason="enough"))
        # What was read before says that it waits.
        it.shard.backlog.let_in(
            it.shard.stored.load(page).values()
        )  # what was read before says that it waits
        await it.settle()
        agent.send(credit={"granted_total": 4, "chunk_size": 1})
        executed = list[bytes]()
        for _ in range(10):
            await it.advance(1)
            executed += agent.receive()
        assert sorted(executed) == sorted(ids[:-1])
        assert await it.history(last) == [RunState.CANCELLED]

    play(scenario, window=2)


def test_a_run_that_is_read_back_while_its_id_is_used_again_is_not_lost() -> None:
    async def scenario(it: World) -> None:
        client, other = it.client(), it.client()
        ids = await client.submit(4)
        await it.settle()
        page = await it.shard.stored.rows(ids[-1:])
        await other.submit(run_ids=[*new_ids(3), ids[-1]])  # goes to the backlog, too
        it.shard.backlog.let_in(it.shard.stored.load(page).values())
        agent, executed = it.agent(chunk=1), list[bytes]()
        for _ in range(10):
            await it.advance(1)
            new = agent.receive()
            executed += new
            if new:
                agent.report(new)
        await it.settle()
        other.receive()
        assert ids[-1] in other.refused
        assert executed.count(ids[-1]) == 1
        assert len(executed) == 7
        assert client.state_of(ids[-1]) == RunState.COMPLETED

    play(scenario, window=2)


def test_flow_runs_never_wait_in_the_backlog() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        flows = await client.submit(3, kind=RunKind.FLOW, name="flow", queue="")
        await it.settle()
        assert {run.run_id for run in it.shard.book.flows_by_seq.values()} == set(flows)
        assert set(client.session.executing) == set(flows)

    play(scenario, window=1)


def test_what_other_runs_wait_for_never_waits_in_the_backlog() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=1, chunk=1)
        await client.submit(5)
        await it.settle()
        assert it.owner.backlog_count() > 0
        [started] = agent.receive()
        nested = new_ids(2)
        group = sp.RunGroup(template=1, run_ids=nested, args=[b""] * 2, caller_run_id=started)
        await client.send(submit=sp.SubmitBatch(number=2, groups=[group]))
        await it.settle()
        assert set(nested) <= set(it.runs)
        agent.send(credit={"granted_total": 3, "chunk_size": 1})
        await it.settle()
        assert agent.receive() == nested

    play(scenario, window=2)


def test_runs_that_arrive_while_the_end_of_the_backlog_is_read_are_not_forgotten() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=0)
        ids = await client.submit(5)
        ids += await client.submit(1)
        await it.settle()
        assert it.owner.backlog_count() == 1
        agent.send(credit={"granted_total": 9, "chunk_size": 9})
        it.shard.backlog.refill()
        await asyncio.sleep(0)  # the page is being read
        ids += await client.submit(3)
        assert it.owner.backlog_count() == 4
        executed = list[bytes]()
        for _ in range(10):
            await it.advance(1)
            executed += agent.receive()
        assert executed == ids

    play(scenario, window=5)


def test_what_was_read_back_leaves_the_backlog() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=1, chunk=1)
        ids, ended = await client.submit(9), list[bytes]()
        for _ in range(40):
            await it.advance(1)
            agent.heartbeat()
            new = agent.receive()
            ended += new
            if new:
                agent.report(new)
        assert ended == ids
        assert await it.ask(it.store.backlog_counts) == []

    play(scenario, window=2)
