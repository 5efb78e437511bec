"""Runs that wait for a flow run to be lost: what undoes the work of its transactions."""

from pathlib import Path

import pytest
from support.owner_harness import Client, World, assigned, kill_and_restart, play

from taskyard_contract.capabilities import ROLLBACKS
from taskyard_contract.errors import InvalidRequest
from taskyard_contract.id_factory import new_id, new_ids
from taskyard_contract.states import FlowEvent, ReportKind, RunState, UpstreamKind
from taskyard_controlplane.domain.edges import accepts

S = RunState
NOT_COMPLETED, ORDER, IF_SUBMITTED = UpstreamKind.NOT_COMPLETED, UpstreamKind.ORDER, UpstreamKind.IF_SUBMITTED


async def undoing(client: Client, flow: bytes, task_runs: list[bytes]) -> tuple[bytes, list[bytes]]:
    """Submit what undoes the work of task runs, each before the next one: the last one has to go first."""
    [head] = await client.submit(upstream=[(0, flow, NOT_COMPLETED)], outlives=True)
    ids = new_ids(len(task_runs) + 1)
    for position, task_run in enumerate(task_runs):
        edges = [(0, head, ORDER), (0, task_run, IF_SUBMITTED), (0, ids[position + 1], IF_SUBMITTED)]
        await client.submit(upstream=edges, run_ids=[ids[position]], outlives=True)
    return head, ids[:-1]


async def leave(client: Client) -> None:
    """End the session: what is left of it is lost."""
    await client.send(goodbye=True)


@pytest.mark.parametrize("end", [S.FAILED, S.CANCELLED, S.CRASHED, S.NOT_READY])
def test_d9_ends_that_are_no_completion_are_what_such_an_edge_waits_for(end: RunState) -> None:
    assert accepts(NOT_COMPLETED, end)
    assert accepts(IF_SUBMITTED, end)
    assert not accepts(NOT_COMPLETED, S.COMPLETED)
    assert not accepts(NOT_COMPLETED, 0), "a flow run that there is not was not lost either"
    assert accepts(IF_SUBMITTED, S.COMPLETED)
    assert accepts(IF_SUBMITTED, 0)


def test_d9_a_lost_flow_run_is_undone_in_the_reverse_order() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        assert ROLLBACKS in client.welcome.capabilities
        flow = await client.start_flow()
        done = await client.submit(2, flow=flow)
        head, hooks = await undoing(client, flow, done)
        assert await assigned(it, agent) == done
        agent.report(done)
        assert await assigned(it, agent) == [], "the flow run goes on"
        await leave(client)
        assert await assigned(it, agent) == [head]
        agent.report([head])
        assert await assigned(it, agent) == [hooks[1]]
        agent.report([hooks[1]], kind=ReportKind.FAILED, message="boom")
        assert await assigned(it, agent) == [hooks[0]], "the next one is called all the same"

    play(scenario)


def test_d9_a_task_run_that_still_executes_ends_before_it_is_undone() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        flow = await client.start_flow()
        task_run = new_id()
        head, [hook] = await undoing(client, flow, [task_run])  # before the run, whose id is chosen
        await client.submit(flow=flow, run_ids=[task_run])
        assert await assigned(it, agent) == [task_run]
        await leave(client)
        assert await assigned(it, agent) == [head]
        agent.report([head])
        assert await assigned(it, agent) == []
        agent.report([task_run])
        assert await assigned(it, agent) == [hook]

    play(scenario)


@pytest.mark.parametrize("settled", [True, False])
def test_d9_nothing_is_undone_of_a_flow_run_that_completes(settled: bool) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        flow = await client.start_flow()
        await undoing(client, flow, [new_id(), new_id()])
        if settled:
            await it.settle()
        report = [{"run_id": flow, "event": FlowEvent.SUCCEEDED}]
        await client.send(flow_reports=report)
        await it.settle()
        await leave(client)
        assert await assigned(it, agent) == []
        assert not it.runs, "all of them have ended"
        assert not it.shard.upstream.awaited, "nothing is remembered of runs that never came"

    play(scenario)


def test_d9_what_was_taken_back_is_not_undone() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        flow = await client.start_flow()
        head, _ = await undoing(client, flow, [new_id(), new_id()])
        await it.settle()
        assert await it.owner.cancel(head) == S.CANCELLED
        await leave(client)
        assert await assigned(it, agent) == []
        assert not it.runs
        assert not it.shard.upstream.awaited

    play(scenario)


def test_d9_one_hook_that_was_taken_back_leaves_the_others() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        flow = await client.start_flow()
        head, hooks = await undoing(client, flow, [new_id(), new_id(), new_id()])
        await it.settle()
        await it.owner.cancel(hooks[2])
        await leave(client)
        assert await assigned(it, agent) == [head]
        agent.report([head])
        assert await assigned(it, agent) == [hooks[1]]
        agent.report([hooks[1]])
        assert await assigned(it, agent) == [hooks[0]]

    play(scenario)


def test_d9_of_two_generations_one_decides() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        flow = await client.start_flow()
        first, _ = await undoing(client, flow, [])
        edges = [(0, flow, NOT_COMPLETED), (0, first, NOT_COMPLETED)]
        [second] = await client.submit(upstream=edges, outlives=True)
        await it.settle()
        await leave(client)
        assert await assigned(it, agent) == [first], "it was not taken back"
        agent.report([first])
        assert await assigned(it, agent) == []
        assert second not in it.runs

    play(scenario)


def test_d9_a_restart_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    ids: dict[str, bytes] = {}
    session_id = b"s" * 16

    async def before(it: World) -> None:
        client, agent = it.client(session_id), it.agent()
        flow = await client.start_flow()
        done = await client.submit(2, flow=flow)
        head, hooks = await undoing(client, flow, done)
        assert await assigned(it, agent) == done
        agent.report(done)
        await it.settle()
        ids.update(head=head, first=hooks[0], last=hooks[1])

    async def after(it: World) -> None:
        agent = it.agent()
        client = it.client(session_id)
        assert await assigned(it, agent) == []
        await leave(client)
        assert await assigned(it, agent) == [ids["head"]]
        agent.report([ids["head"]])
        assert await assigned(it, agent) == [ids["last"]]
        agent.report([ids["last"]])
        assert await assigned(it, agent) == [ids["first"]]

    kill_and_restart(tmp_path, before, after)


def test_runs_inside_of_a_flow_run_cannot_outlive_their_session() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        flow = await client.start_flow()
        with pytest.raises(InvalidRequest, match=r"outlives_session .* task runs in no flow run"):
            await client.submit(flow=flow, outlives=True)

    play(scenario)
