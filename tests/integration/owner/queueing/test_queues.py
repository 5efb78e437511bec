"""What starts when and where: priorities, queues, turns, and what travels together."""

import pytest
from support.owner_harness import World, assigned, play

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import common_pb2, run_service_pb2, template_pb2
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.errors import InvalidRequest
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import ReportKind, RunKind, RunState
from taskyard_controlplane.owner.queueing.backlog import WINDOW

CODE = template_pb2.Code(task_name="task")

S = RunState


@pytest.mark.parametrize("window", [WINDOW, 4])
def test_lower_priorities_start_first_each_in_order(window: int) -> None:
    async def scenario(it: World) -> None:
        client, ids = it.client(), {}
        for priority in (5, -1, 0):
            ids[priority] = await client.submit(3, priority=priority)
        for priority in (5, -1, 0):
            ids[priority] += await client.submit(6, priority=priority)
        await it.settle()
        agent, seen = it.agent(credit=1, chunk=1), list[bytes]()
        while new := await assigned(it, agent):
            seen += new
            agent.report(new)
        assert seen == ids[-1] + ids[0] + ids[5]

    play(scenario, window=window)


def test_new_runs_do_not_overtake_those_in_the_backlog() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        ids = await client.submit(9, name="same") + await client.submit(3, name="same")
        await it.settle()
        assert it.owner.backlog_count() == 3
        agent = it.agent(credit=5)
        seen = await assigned(it, agent)
        ids += await client.submit(3, name="same")  # there would be room in memory
        await it.settle()
        agent.report(seen)
        while new := await assigned(it, agent):
            seen += new
            agent.report(new)
        assert seen == ids

    play(scenario, window=10)


def test_an_agent_gets_runs_of_its_own_queues_only() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        [left] = await client.submit(queue="left")
        [right] = await client.submit(queue="right")
        [spare] = await client.submit(queue="spare")
        await it.settle()
        first = it.agent("first", queues=("left",))
        second = it.agent("second", queues=("empty", "right", "spare"))
        assert await assigned(it, first) == [left]
        assert await assigned(it, second) == [right, spare]

    play(scenario)


def test_agents_take_turns() -> None:
    async def scenario(it: World) -> None:
        client, agents = it.client(), [it.agent(name, credit=9) for name in "ab"]
        for _ in range(4):
            await client.submit()
            await it.settle()
        assert [len(agent.receive()) for agent in agents] == [2, 2]

    play(scenario)


def test_a_chunk_holds_runs_of_one_template_and_one_flow_run() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        flow = await client.start_flow()
        groups = [
            await client.submit(2, name="one"),
            await client.submit(2, name="two"),
            await client.submit(2, name="two", flow=flow),
        ]
        agent = it.agent()
        assert await assigned(it, agent) == [run_id for group in groups for run_id in group]
        assert [chunk.run_ids for chunk in agent.chunks] == [b"".join(group) for group in groups]
        assert [agent.bodies[group[0]][0].flow_run_id for group in groups] == [b"", b"", flow]

    play(scenario)


def test_what_was_cancelled_in_the_queue_is_passed_over() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        ids = await client.submit(4)
        await it.settle()
        await client.send(cancel=[ids[0], ids[2]])
        await it.settle()
        agent = it.agent()
        assert await assigned(it, agent) == [ids[1], ids[3]]

    play(scenario)


def test_each_retry_waits_as_long_as_it_was_told_to() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        await client.submit(retry={"max_retries": 3, "delays_ms": [2000, 6000]})
        for wait in (2, 6, 6):
            [run_id] = await assigned(it, agent)
            agent.report([run_id], kind=ReportKind.FAILED)
            await it.settle()
            for _ in range(wait - 1):
                await it.advance(1)
                assert agent.receive() == []
            await it.advance(1)
        assert await assigned(it, agent) == [run_id]

    play(scenario)


def test_starts_that_were_not_told_are_not_recorded() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit()
        await assigned(it, agent)
        agent.send(started=[ap.StartedRun(key=agent.key(run_id), running_ms=1)])
        for _ in range(2):
            agent.send(lost=[ap.LostRun(key=agent.key(run_id))])
            assert await assigned(it, agent) == [run_id]
        agent.report([run_id])
        await it.settle()
        assert await it.history(run_id) == [S.RUNNING, S.READY, S.READY, S.COMPLETED]

    play(scenario)


def test_the_history_counts_attempts_as_they_were() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit(retry={"max_retries": 1})
        await assigned(it, agent)
        agent.report([run_id], kind=ReportKind.FAILED)
        await assigned(it, agent)
        agent.report([run_id])
        await it.settle()
        shard = it.shard
        [row] = await shard.committer.run(lambda: it.store.runs_by_id([run_id]))
        events = await shard.committer.run(lambda: it.store.events_of([row.seq]))
        assert [(event.state, event.attempt) for event in events] == [(S.RUNNING, 1), (S.READY, 2)]
        assert row.attempt == 2

    play(scenario)


def test_a_run_that_is_tried_again_may_still_name_its_key() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit(retry={"max_retries": 1})
        await assigned(it, agent)
        agent.report([run_id], kind=ReportKind.FAILED)
        assert await assigned(it, agent) == [run_id]
        [extra] = agent.bodies[run_id][0].extras
        assert (extra.attempt, extra.cache_key_decided) == (2, False)

    play(scenario)


def test_a_run_that_was_given_back_is_held_by_nobody() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=1)
        [run_id] = await client.submit()
        await assigned(it, agent)
        agent.send(given_back=[agent.key(run_id)])
        await it.settle()
        live = it.owner.state_of(run_id)
        assert live is not None
        assert (live.state, live.agent_name) == (S.READY, "")

    play(scenario)


def test_runs_with_keys_count_against_the_window() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        for number in range(20):
            await client.submit(5, cache_keys=[f"{number}-{at}" for at in range(5)])
        await it.settle()
        assert it.owner.open_count() <= 20, it.owner.open_count()

    play(scenario, window=10)


def test_keys_of_runs_in_the_backlog_are_decided_when_their_turn_comes() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=200)
        [known] = await client.submit(cache_keys=["known"])
        await assigned(it, agent)
        agent.report([known])
        await it.settle()
        agent.granted = 0
        agent.send(credit=ap.Credit(granted_total=0, chunk_size=1))
        ids = await client.submit(12, cache_keys=["known" if at % 2 else f"new-{at}" for at in range(12)])
        await it.settle()
        assert it.owner.backlog_count() > 0
        agent.granted = 400
        agent.send(credit=ap.Credit(granted_total=400, chunk_size=10))
        executed = []
        while runs := await assigned(it, agent):
            executed += runs
            agent.report(runs)
        assert executed == ids[::2], "hits are not executed, the others in order"
        assert [client.state_of(run_id) for run_id in ids] == [S.COMPLETED] * 12
        assert not it.shard.cache.under_way

    play(scenario, window=4)


def test_names_and_arguments_of_runs_in_the_backlog_are_kept() -> None:
    async def scenario(it: World) -> None:
        await it.owner.submit_unowned([new_run(number) for number in range(9)], [])
        agent = it.agent(credit=0)
        await it.settle()
        assert (it.owner.open_count(), it.owner.backlog_count()) == (3, 6)
        agent.granted = 50
        agent.send(credit=ap.Credit(granted_total=50, chunk_size=1))
        seen = []
        while runs := await assigned(it, agent):
            for run_id in runs:
                body, position = agent.bodies[run_id]
                seen.append((body.args[position], body.extras[0].name))
            agent.report(runs)
        assert seen == [(b"%d" % number, f"run {number}") for number in range(9)]

    play(scenario, window=3)


def new_run(number: int) -> run_service_pb2.NewRun:
    template = template_pb2.RunTemplate(kind=int(RunKind.TASK), name="task", queue="default", code=CODE)  # type: ignore[arg-type]
    args = common_pb2.Payload(data=b"%d" % number)
    return run_service_pb2.NewRun(run_id=new_id(), name=f"run {number}", template=template, args=args)


def test_agents_are_told_which_runs_others_wait_for() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(chunk=1)
        [caller] = await client.submit()
        await assigned(it, agent)
        definition = template_pb2.RunTemplate(kind=1, name="nested", queue="default")  # type: ignore[arg-type]
        batch = sp.SubmitBatch(
            number=2,
            templates=[template_pb2.TemplateDefinition(index=2, template=definition)],
            groups=[sp.RunGroup(template=2, run_ids=[new_id()], args=[b""], caller_run_id=caller)],
        )
        await client.send(submit=batch)
        await it.settle()
        agent.receive()
        assert [chunk.nested for chunk in agent.chunks] == [False, True]
        assert [extra.caller_run_id for extra in agent.bodies[batch.groups[0].run_ids[0]][0].extras] == [
            caller
        ]

    play(scenario)


def test_templates_belong_to_a_stream() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        await client.submit()
        again = it.client(client.session.session_id)
        group = sp.RunGroup(template=1, run_ids=[new_id()], args=[b""])
        with pytest.raises(InvalidRequest, match="was not sent on this stream"):
            await again.send(submit=sp.SubmitBatch(number=2, groups=[group]))

    play(scenario)
