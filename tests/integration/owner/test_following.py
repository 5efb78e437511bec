"""What those who follow runs and logs are given by an owner, over a restart too."""

from pathlib import Path

from support.owner_harness import World, assigned, kill_and_restart, play

from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.states import FlowEvent, RunState
from taskyard_controlplane.owner.journal.changes import EVERYTHING, Interest


def test_each_run_of_a_chunk_is_told_when_it_is_submitted_assigned_and_ended():
    async def scenario(it: World) -> None:
        watch = it.owner.changes.watch(EVERYTHING, None, lambda: None)
        client = it.client()
        ids = await client.submit(5)
        await it.settle()
        assert watch.take(100) == ids
        agent = it.agent()
        assert await assigned(it, agent) == ids
        assert watch.take(100) == ids
        agent.report(ids)
        assert watch.take(100) == [], "it is not durable yet"
        await it.settle()
        assert sorted(watch.take(100)) == ids

    play(scenario)


def test_runs_that_wait_only_in_the_database_are_told_too():
    async def scenario(it: World) -> None:
        watch = it.owner.changes.watch(EVERYTHING, None, lambda: None)
        ids = await it.client().submit(50)
        await it.settle()
        assert it.owner.backlog_count() > 0
        assert sorted(watch.take(100)) == ids

    play(scenario, window=5)


def test_who_agents_still_hold_after_a_restart_is_told(tmp_path: Path):
    held: list[tuple[bytes, int]] = []
    session_id = b"a" * 16

    async def before(it: World) -> None:
        [run_id] = await it.client().submit()
        agent = it.agent(session_id=session_id)
        assert await assigned(it, agent) == [run_id]
        held.append((run_id, agent.assigned[run_id]))
        await it.settle()

    async def after(it: World) -> None:
        watch = it.owner.changes.watch(EVERYTHING, None, lambda: None)
        it.agent(session_id=session_id, held=held)
        assert watch.take(100) == [held[0][0]]

    kill_and_restart(tmp_path, before, after)


def test_a_run_that_outlived_its_flow_run_and_a_restart_is_still_one_of_it(tmp_path: Path):
    """Of its flow run there is no record any more, and still its end is one of the changes of that."""
    flows: list[bytes] = []
    held: list[tuple[bytes, int]] = []
    session_id = b"a" * 16

    async def before(it: World) -> None:
        client = it.client()
        flow = await client.start_flow()
        [inside] = await client.submit(flow=flow)
        agent = it.agent(session_id=session_id)
        assert await assigned(it, agent) == [inside]
        held.append((inside, agent.assigned[inside]))
        report = sp.FlowReport(run_id=flow, event=FlowEvent.SUCCEEDED)  # type: ignore[arg-type]
        await client.send(flow_reports=[report])
        await it.settle()
        flows.append(flow)

    async def after(it: World) -> None:
        [(inside, _)] = held
        [row] = await it.ask(lambda: it.store.runs_by_id(flows))
        assert row.state == RunState.COMPLETED
        watch = it.owner.changes.watch(Interest(flow_seq=row.seq), None, lambda: None)
        woken: list[int] = []
        agent = it.agent(session_id=session_id, held=held)
        agent.assigned[inside] = held[0][1]
        assert watch.take(10) == [inside]
        with it.owner.tails.follow(row.seq, lambda: woken.append(1)):
            agent.report([inside])
            await it.settle()
        assert (watch.take(10), bool(woken)) == ([inside], True)
        assert not it.shard.book.strays

    kill_and_restart(tmp_path, before, after)
