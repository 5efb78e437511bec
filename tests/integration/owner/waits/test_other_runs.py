"""Reasons that lie with other runs: those it depends on, those before it, those that have the slots."""

from collections.abc import Callable

import pytest
from support.explained import Asker
from support.owner_harness import Agent, World, assigned

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import template_pb2 as tp
from taskyard_contract.states import ReportKind, UpstreamKind
from taskyard_contract.states import RunState as S
from taskyard_contract.states import WaitReason as W
from taskyard_controlplane.owner.serving import explaining

Ask = Callable[..., None]


def start(agent: Agent, *run_ids: bytes) -> None:
    """Let an agent say that runs have started."""
    agent.send(started=[ap.StartedRun(key=agent.key(run_id)) for run_id in run_ids])


def test_upstream_and_the_cause_behind_it(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client = it.client()
        it.agent(credit=0)
        [blocked] = await client.submit(name="load", queue="gpu")
        [middle] = await client.submit(name="clean", upstream=[(0, blocked)])
        [last] = await client.submit(name="sum", upstream=[(0, middle), (0, blocked, UpstreamKind.ORDER)])
        await it.settle()
        text = "2 upstream runs have not ended: 'clean-0', 'load-0'"
        wait = await asker.wait(last, W.UPSTREAM, text)
        assert (wait.runs_left, wait.executing) == (2, 0)
        assert [(run.name, run.state) for run in wait.runs] == [("clean-0", S.PENDING), ("load-0", S.READY)]
        causes = [(each.about.name, W(each.reason)) for each in (await asker.waits(last))[1:]]
        assert causes == [("clean-0", W.UPSTREAM), ("load-0", W.NO_AGENT_FOR_QUEUE)]
        assert await asker.line(last) == "sum-0 waits for 'load-0': no agent serves queue 'gpu'"

    ask(scenario)


def test_upstream_that_executes_is_no_reason_to_say_anything(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client, agent = it.client(), it.agent()
        ids = await client.submit(2)
        [last] = await client.submit(name="sum", upstream=[(0, ids[0]), (0, ids[1])])
        await assigned(it, agent)
        start(agent, ids[0])
        await it.settle()
        wait = await asker.wait(last, W.UPSTREAM, "2 upstream runs have not ended: 'task-1', 'task-0'")
        assert wait.executing == 1
        assert await asker.line(last) == ""

    ask(scenario)


def test_of_very_many_upstream_runs_only_some_are_looked_at(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explaining, "MOST_EDGES", 2)

    async def scenario(it: World, asker: Asker) -> None:
        client, agent = it.client(), it.agent(credit=1)
        ids = await client.submit(5)
        [last] = await client.submit(name="sum", upstream=[(0, each) for each in reversed(ids)])
        assert await assigned(it, agent) == ids[:1]
        start(agent, ids[0])
        await it.settle()
        wait = await asker.wait(last, W.UPSTREAM, "5 upstream runs have not ended: 'task-4', 'task-3', ...")
        assert wait.executing == 1, "the one that executes was not looked at, and is of the same program"

    ask(scenario)


def test_a_retry_is_due_later(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client, agent = it.client(), it.agent()
        retry = tp.RetryPolicy(max_retries=3, delays_ms=[60_000])
        [run_id] = await client.submit(retry=retry)
        await assigned(it, agent)
        agent.report([run_id], kind=ReportKind.FAILED)
        await it.advance(20)
        wait = await asker.wait(run_id, W.RETRY_DELAY, "attempt 2 is due in 40 s")
        assert wait.due_us == it.clock.now_us() + 40_000_000
        assert await asker.line(run_id) == "task-0 waits: attempt 2 is due in 40 s"

    ask(scenario)


def test_another_program_computes_the_result_of_its_key(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        one, two, agent = it.client(), it.client(), it.agent()
        [leader] = await one.submit(name="slow", cache_keys=["k"])
        [follower] = await two.submit(cache_keys=["k"])
        [own] = await one.submit(name="slow", cache_keys=["k"])
        await assigned(it, agent)
        start(agent, leader)
        await it.settle()
        text = "run 'slow-0' computes the result of its cache key"
        wait = await asker.wait(follower, W.CACHE_LEADER, text)
        assert [run.run_id for run in wait.runs] == [leader]
        assert await asker.line(follower) == f"task-0 waits: {text}"
        assert await asker.line(own) == "", "its own program executes it"

    ask(scenario)


async def busy(it: World, slots: int = 2) -> tuple[Agent, bytes, list[bytes]]:
    """Let a flow of somebody execute as many runs as there are slots; returns the flow and what waits."""
    agent, greedy = it.agent(credit=slots, chunk=1), it.client()
    flow = await greedy.start_flow()
    ids = await greedy.submit(slots + 92, flow=flow)
    assert await assigned(it, agent) == ids[:slots]
    start(agent, *ids[:slots])
    await it.settle()
    return agent, flow, ids[slots:]


def test_slots_are_taken_and_sessions_take_turns(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        _, flow, _ = await busy(it)
        [run_id] = await it.client().submit(name="quick")
        await it.settle()
        text = "all slots for it are taken by 2 runs of flow 'flow-0'"
        wait = await asker.wait(run_id, W.SLOTS_TAKEN, text)
        assert (wait.queue, wait.executing, wait.ahead) == ("default", 0, 0)
        assert [(each.runs, each.flow_run_id, each.own) for each in wait.whose] == [(2, flow, False)]
        turns = (await asker.waits(run_id))[1]
        assert (W(turns.reason), turns.message) == (
            W.QUEUED,
            "it takes turns with 92 runs of flow 'flow-0'",
        )
        assert [(each.runs, each.takes_turns) for each in turns.whose] == [(92, True)]
        assert await asker.line(run_id) == f"quick-0 waits: {text}"

    ask(scenario)


def test_the_next_one_of_its_queue(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client, agent = it.client(), it.agent(credit=1)
        first, _ = await client.submit(1), await assigned(it, agent)
        agent.receive()
        start(agent, *first)
        [run_id] = await it.client().submit(name="quick")
        await it.settle()
        text = "it is the next in queue 'default', and all slots for it are taken by 1 run of program 'test'"
        await asker.wait(run_id, W.SLOTS_TAKEN, text)

    ask(scenario)


def test_more_urgent_runs_of_a_flow_are_ahead(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        _, flow, _ = await busy(it)
        [run_id] = await it.client().submit(name="quick", priority=5)
        await it.settle()
        text = "92 runs of flow 'flow-0' are ahead"
        wait = await asker.wait(run_id, W.QUEUED, text)
        assert (wait.queue, wait.priority, wait.ahead, wait.executing) == ("default", 5, 92, 0)
        assert [(each.runs, each.name, each.flow_run_id) for each in wait.whose] == [(92, "flow-0", flow)]
        assert await asker.line(run_id) == f"quick-0 waits: {text}"

    ask(scenario)


def test_runs_that_no_agent_of_the_queue_can_execute_are_not_ahead(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        agent = it.agent(credit=1, capabilities=("interpreter/python3.11",))
        client = it.client()
        await client.submit(7, python_version="3.12")
        first, [run_id] = await client.submit(1), await client.submit(1, name="other")
        await assigned(it, agent)
        start(agent, *first)
        await it.settle()
        assert W((await asker.waits(run_id))[0].reason) == W.SLOTS_TAKEN

    ask(scenario)


def test_a_queue_that_the_agent_prefers_comes_first(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        agent = it.agent(credit=1, queues=("urgent", "default"))
        client = it.client()
        ids, [run_id] = await client.submit(4, queue="urgent", name="u"), await it.client().submit()
        await assigned(it, agent)
        start(agent, ids[0])
        await it.settle()
        text = "3 runs of program 'test' are ahead"
        assert (await asker.wait(run_id, W.QUEUED, text)).ahead == 3

    ask(scenario)


def test_a_program_that_waits_for_its_own_runs_is_told_nothing(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        _, _, waiting = await busy(it)
        wait = await asker.wait(waiting[-1], W.QUEUED, "91 runs of its own flow are ahead")
        assert wait.executing == 2
        assert await asker.line(waiting[-1]) == ""

    ask(scenario)


def test_it_is_only_in_the_database(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client = it.client()
        it.agent(credit=0)
        ids = [*await client.submit(2), *await client.submit(4, name="late")]
        [nowhere] = await client.submit(1, queue="gpu")
        more = await client.submit(3, queue="gpu", name="later")
        await it.settle()
        assert nowhere in it.runs
        assert not {ids[-1], more[-1]} & it.runs.keys()
        left = len(set(ids) - it.runs.keys())
        text = f"it and {left - 1} others wait in the database until those before have started"
        wait = await asker.wait(ids[-1], W.BACKLOG, text)
        assert (wait.queue, wait.priority, wait.runs_left) == ("default", 0, left)
        assert await asker.line(ids[-1]) == f"late-3 waits: {text}"
        await asker.wait(more[-1], W.NO_AGENT_FOR_QUEUE, "no agent serves queue 'gpu'")
        assert [W(each.reason) for each in await asker.waits(more[-1])][1:] == [W.BACKLOG]

    ask(scenario, window=2)


def test_a_parked_run_names_what_it_waits_for(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client = it.client()
        [first] = await client.submit(name="load", queue="gpu")
        [middle] = await client.submit(name="clean", upstream=[(0, first)])
        [last] = await client.submit(name="sum", upstream=[(0, middle), (0, first)])
        await it.settle()
        assert it.runs.keys() == {first}, "two are parked"
        wait = await asker.wait(last, W.UPSTREAM, "2 upstream runs have not ended: 'load-0', ...")
        assert {run.name for run in wait.runs} == {"load-0", "clean-0"}
        assert wait.runs_left == 2
        assert await asker.line(last) == "sum-0 waits for 'load-0': no agent is connected"

    ask(scenario, most_open=1)


def test_an_agent_has_it_in_hand(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client, agent = it.client(), it.agent("a", credit=5)
        other = await client.start_flow()
        ids = await client.submit(2, flow=other)
        await assigned(it, agent)
        [run_id] = await it.client().submit(name="quick")
        await assigned(it, agent)
        start(agent, *ids)
        await it.settle()
        text = "agent 'a' has it and starts it when a slot is free"
        wait = await asker.wait(run_id, W.AGENT_HAS_IT, text)
        assert (wait.agent_name, wait.executing) == ("a", 0)
        assert [(each.runs, each.name) for each in wait.whose] == [(2, "flow-0")]
        assert await asker.line(run_id) == f"quick-0 waits: {text}"
        agent.send(credit=ap.Credit(granted_total=agent.granted, chunk_size=1, nested_only=True))
        text += "; many runs wait there for runs of their own, so few are started at a time"
        await asker.wait(run_id, W.AGENT_HAS_IT, text)

    ask(scenario)


def test_an_agent_that_has_a_slot_for_it_may_leave_out_that_it_started(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client, agent = it.client(), it.agent("a")
        [run_id] = await client.submit()
        await assigned(it, agent)
        text = "agent 'a' has it and a slot for it, and has not said that it has started"
        await asker.wait(run_id, W.AGENT_HAS_IT, text)
        assert await asker.line(run_id) == ""

    ask(scenario)


def test_an_agent_that_never_says_that_runs_start_is_taken_to_execute_the_first(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client, agent = it.client(), it.agent("threads", credit=4)
        ids = await client.submit(6)
        await assigned(it, agent)
        text = "agent 'threads' has it and starts it when a slot is free"
        wait = await asker.wait(ids[3], W.AGENT_HAS_IT, text)
        assert ([each.runs for each in wait.whose], wait.executing) == ([2], 2)
        assert (await asker.waits(ids[5]))[0].executing == 2
        assert [await asker.line(run_id) for run_id in ids] == [""] * 6

    ask(scenario)


def test_a_flow_run_has_the_reasons_of_what_is_inside(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client = it.client()
        agent = it.agent()
        flow = await client.start_flow()
        assert (await asker.about(flow))[0].state == S.RUNNING
        assert await asker.waits(flow) == [], "it is executed"
        ids = await client.submit(3, queue="gpu", flow=flow)
        await it.settle()
        text = "3 runs inside it are open and none is executed: 'task-0', 'task-1', 'task-2'"
        wait = await asker.wait(flow, W.RUNS_INSIDE, text)
        assert ([run.run_id for run in wait.runs], wait.runs_left) == (ids, 3)
        cause = (await asker.waits(flow))[1]
        assert (W(cause.reason), cause.about.name) == (W.NO_AGENT_FOR_QUEUE, "task-0")
        [inside] = await client.submit(flow=flow, name="quick")
        assert await assigned(it, agent) == [inside]
        start(agent, inside)
        assert await asker.waits(flow) == []

    ask(scenario)


def test_what_runs_in_a_long_chain_is_followed_for_a_while(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client = it.client()
        chain = await client.submit(name="link", queue="gpu")
        for _ in range(20):
            chain += await client.submit(name="link", upstream=[(0, chain[-1])])
        await it.settle()
        assert len(await asker.waits(chain[-1])) == explaining.DEEPEST

    ask(scenario)


def test_nothing_is_in_its_way(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client = it.client()
        agent = it.agent(credit=0)
        [run_id] = await client.submit()
        await it.settle()
        agent.agent.granted = 1  # as if its credit had just come
        await asker.wait(run_id, W.TURN, "it is about to be given to an agent")
        assert await asker.line(run_id) == "task-0 waits: it is about to be given to an agent"

    ask(scenario)


def test_what_is_executed_or_has_ended_waits_for_nothing(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client, agent = it.client(), it.agent()
        ended, executed = await client.submit(2)
        await assigned(it, agent)
        start(agent, executed)
        agent.report([ended])
        await it.settle()
        found = await asker.about(executed, ended, b"?" * 16)
        assert [(each.state, len(each.waits)) for each in found] == [(S.RUNNING, 0), (S.COMPLETED, 0), (0, 0)]
        assert [await asker.line(run_id) for run_id in (executed, ended)] == ["", ""]
        unknown = await asker.line(b"?" * 16)
        assert unknown == " a run waits: it has not reached the control plane yet"

    ask(scenario)
