"""What a new owner must know of what the last one did."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from support.owner_harness import Agent, World, assigned, kill_and_restart, lose, play, started, world

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import common_pb2
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_api.v1 import template_pb2 as tp
from taskyard_contract.errors import NotOwner
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import FlowEvent, ReportKind, RunKind, RunState
from taskyard_controlplane.owner.serving.owner import MAINTAIN_SECONDS

S = RunState


def flow_report(flow: bytes, event: FlowEvent) -> sp.FlowReport:
    """Make a report about a flow run."""
    return sp.FlowReport(run_id=flow, event=int(event))  # type: ignore[arg-type]


async def record(it: World) -> None:
    """Let a commit happen; the records of dispatches ride on it."""
    await it.client().submit(queue="nobody")
    await it.settle()


async def pass_time(it: World, seconds: int, *agents: Agent) -> None:
    """Let time pass while agents are alive."""
    for _ in range(seconds):
        for agent in agents:
            agent.heartbeat()
        await it.advance(1)


def test_a_run_that_is_assigned_again_gets_its_inputs_again(tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent()
        [upstream] = await client.submit()
        [downstream] = await client.submit(upstream=[(0, upstream)])
        await assigned(it, agent)
        agent.report([upstream])
        assert await assigned(it, agent) == [downstream]
        await record(it)
        found.update(upstream=upstream, downstream=downstream)

    async def after(it: World) -> None:
        agent = it.agent()
        await it.advance(3)
        assert agent.receive() == [found["downstream"]]
        assert agent.inputs_of(found["downstream"]) == {found["upstream"]: b"result"}

    kill_and_restart(tmp_path, before, after)


def test_a_run_still_waits_for_the_upstream_runs_that_are_open(tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent(credit=1)
        upstream = await client.submit(2)
        [downstream] = await client.submit(upstream=[(0, run_id) for run_id in upstream])
        await assigned(it, agent)
        agent.granted -= 1  # no credit for the second one
        agent.report(upstream[:1])
        await it.settle()
        found.update(upstream=upstream, downstream=downstream)

    async def after(it: World) -> None:
        agent = it.agent("b")
        assert await assigned(it, agent) == found["upstream"][1:]
        agent.report(found["upstream"][1:])
        assert await assigned(it, agent) == [found["downstream"]]
        assert agent.inputs_of(found["downstream"]) == dict.fromkeys(found["upstream"], b"result")

    kill_and_restart(tmp_path, before, after)


@pytest.mark.parametrize("state", [S.READY, S.ASSIGNED, S.AWAITING_RETRY])
def test_one_of_equal_runs_computes_its_key(state: RunState, tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent(credit=int(state != S.READY))
        retry = {"max_retries": 1, "delays_ms": [5000]}
        ids = await client.submit(3, cache_keys=["k"] * 3, retry=retry)
        await assigned(it, agent)
        if state == S.AWAITING_RETRY:
            agent.report(ids[:1], kind=ReportKind.FAILED)
        await record(it)
        found.update(ids=ids, session=client.session.session_id)

    async def after(it: World) -> None:
        ids = found["ids"]
        client, agent = it.client(found["session"]), it.agent()
        await client.send(subscribe=ids)
        seen = await assigned(it, agent)
        await it.advance_slowly(7)
        seen += agent.receive()
        assert seen == ids[:1]
        body, position = agent.bodies[ids[0]]
        assert [extra.cache_key_decided for extra in body.extras if extra.position == position] == [True]
        agent.report(ids[:1])
        await it.settle()
        assert [client.state_of(run_id) for run_id in ids] == [S.COMPLETED] * 3
        assert not it.shard.cache.under_way

    kill_and_restart(tmp_path, before, after)


def test_what_was_lost_before_is_not_lost_again(tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent(credit=2)
        [run_id] = await client.submit(max_infra_retries=2)
        for _ in range(2):
            await assigned(it, agent)
            agent.send(lost=[ap.LostRun(key=agent.key(run_id))])
        await it.settle()
        found.update(run=run_id, session=client.session.session_id)

    async def after(it: World) -> None:
        client, agent = it.client(found["session"]), it.agent("b")
        assert await assigned(it, agent) == [found["run"]]
        agent.send(lost=[ap.LostRun(key=agent.key(found["run"]))])
        await it.settle()
        assert client.state_of(found["run"]) == S.CRASHED

    kill_and_restart(tmp_path, before, after)


def test_what_was_adopted_is_not_given_up(tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent("a")
        ids = await client.submit(2)
        await assigned(it, agent)
        await record(it)
        found.update(ids=ids, agent=agent, session=client.session.session_id)

    async def after(it: World) -> None:
        ids, old = found["ids"], found["agent"]
        client = it.client(found["session"])
        await it.advance_slowly(25)  # within the lease there is time to come back
        agent = it.agent("a", session_id=old.session_id, held=list(old.assigned.items()))
        assert not agent.welcome.drop
        assert [run.infra_retries for run in agent.agent.held.values()] == [0, 0]
        agent.assigned = old.assigned
        await pass_time(it, 20, agent)
        assert set(agent.agent.held) == set(ids)
        agent.report(ids)
        await it.settle()
        assert [client.state_of(run_id) for run_id in ids] == [S.COMPLETED] * 2

    kill_and_restart(tmp_path, before, after)


def test_a_cancellation_that_was_under_way_goes_on(tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent("a")
        [run_id] = await client.submit()
        await assigned(it, agent)
        await it.owner.cancel(run_id)
        found.update(run=run_id, agent=agent, session=client.session.session_id)

    async def after(it: World) -> None:
        old = found["agent"]
        client = it.client(found["session"])
        agent = it.agent("a", session_id=old.session_id, held=list(old.assigned.items()))
        agent.receive()
        assert agent.cancels == [found["run"]]
        agent.assigned = old.assigned
        agent.report([found["run"]])
        await it.settle()
        assert client.state_of(found["run"]) == S.CANCELLED

    kill_and_restart(tmp_path, before, after)


def test_a_request_to_end_a_flow_is_repeated_by_a_new_owner(tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client = it.client()
        found.update(flow=await client.start_flow(), session=client.session.session_id)
        await it.owner.cancel(found["flow"])

    async def after(it: World) -> None:
        client = it.client(found["session"])
        client.receive()
        assert client.cancel_requests == [found["flow"]]
        await client.send(flow_reports=[flow_report(found["flow"], FlowEvent.CANCELLED)])
        await it.settle()
        assert (await it.history(found["flow"]))[-1] == S.CANCELLED

    kill_and_restart(tmp_path, before, after)


def test_the_runs_of_a_flow_end_with_it_under_a_new_owner(tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client = it.client()
        flow = await client.start_flow()
        found.update(flow=flow, session=client.session.session_id, ids=await client.submit(2, flow=flow))
        await it.settle()

    async def after(it: World) -> None:
        client = it.client(found["session"])
        ids = [*found["ids"], *await client.submit(flow=found["flow"])]
        await it.settle()
        await it.owner.cancel(found["flow"])
        await it.settle()
        assert [(await it.history(run_id))[-1] for run_id in ids] == [S.CANCELLED] * 3

    kill_and_restart(tmp_path, before, after)


def test_a_flow_whose_last_attempt_had_begun_fails_for_good(tmp_path: Path) -> None:
    """That it had begun is not recorded."""
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client = it.client()
        flow = await client.start_flow(retry={"max_retries": 1, "delays_ms": [1000]})
        await client.send(flow_reports=[flow_report(flow, FlowEvent.FAILED)])
        await it.settle()
        await client.send(flow_reports=[flow_report(flow, FlowEvent.STARTED)])
        await it.settle()
        found.update(flow=flow, session=client.session.session_id)

    async def after(it: World) -> None:
        client = it.client(found["session"])
        await client.send(flow_reports=[flow_report(found["flow"], FlowEvent.FAILED)])
        await it.settle()
        client.receive()
        assert [decision.state for decision in client.decisions] == [S.FAILED]

    kill_and_restart(tmp_path, before, after)


def test_a_session_nobody_resumes_is_lost_under_a_new_owner(tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent(credit=1)
        found.update(flow=await client.start_flow(), ids=await client.submit(2))
        await assigned(it, agent)
        await record(it)

    async def after(it: World) -> None:
        await it.advance_slowly(40)
        assert await it.history(found["flow"]) == [S.CRASHED]
        assert [(await it.history(run_id))[-1] for run_id in found["ids"]] == [S.CANCELLED] * 2
        assert it.owner.sessions == []
        assert it.shard.book.orphans == {}

    kill_and_restart(tmp_path, before, after)


def test_the_last_recorded_assignment_counts(tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent("a", credit=3)
        run_id, _ = await client.submit(2)
        assert len(await assigned(it, agent)) == len(agent.chunks) + 1  # the other keeps the record there
        found["old"] = agent.assigned[run_id]
        agent.send(given_back=[agent.key(run_id)])  # leaves no trace but the next assignment
        await it.advance(0.2)
        assert await assigned(it, agent) == [run_id]
        await record(it)
        found.update(run=run_id, epoch=agent.assigned[run_id], session=client.session.session_id)

    async def after(it: World) -> None:
        client = it.client(found["session"])
        agent = it.agent("a", credit=0, held=[(found["run"], found["old"])])
        assert [key.epoch for key in agent.welcome.drop] == [found["old"]]
        agent.report([found["run"]], epoch=found["old"])
        await it.settle()
        assert client.state_of(found["run"]) is None
        agent.report([found["run"]], epoch=found["epoch"])
        await it.settle()
        assert client.state_of(found["run"]) == S.COMPLETED

    kill_and_restart(tmp_path, before, after)


def test_names_and_large_arguments_survive(tmp_path: Path) -> None:
    async def before(it: World) -> None:
        definition = tp.TemplateDefinition(
            index=1, template=tp.RunTemplate(kind=RunKind.TASK, name="task", queue="default")
        )
        extra = sp.RunExtra(name="named", args=common_pb2.BlobRef(digest=b"d" * 32, size=9))
        group = sp.RunGroup(template=1, run_ids=[new_id()], extras=[extra])
        batch = sp.SubmitBatch(number=1, templates=[definition], groups=[group])
        await it.client().send(submit=batch)
        await it.settle()

    async def after(it: World) -> None:
        agent = it.agent()
        [run_id] = await assigned(it, agent)
        [extra] = agent.bodies[run_id][0].extras
        assert (extra.name, extra.args.digest) == ("named", b"d" * 32)

    kill_and_restart(tmp_path, before, after)


def test_a_run_that_was_adopted_is_still_held_after_another_restart(tmp_path: Path) -> None:
    """The rows of the first owner's dispatches go with the second owner's first ones."""
    url = f"sqlite:///{tmp_path}/yard.db"

    async def main() -> None:
        first = await started(url)
        client, agent = first.client(), first.agent()
        [run_id] = await client.submit()
        assert await assigned(first, agent) == [run_id]
        await record(first)
        await lose(first)
        second = await started(url)
        back = second.agent(session_id=agent.session_id, held=list(agent.assigned.items()))
        assert back.adopted == [run_id]
        others = await second.client().submit(3)
        assert await assigned(second, back) == others
        back.report(others)
        await second.settle()
        await record(second)
        await lose(second)
        async with world(url) as third:
            other = third.agent("b")
            assert run_id not in await assigned(third, other), "its agent may still come back"
            back = third.agent(session_id=agent.session_id, held=list(agent.assigned.items()))
            assert back.adopted == [run_id]

    asyncio.run(asyncio.wait_for(main(), 20))


def test_an_idle_owner_that_was_replaced_ends() -> None:
    async def scenario(it: World) -> None:
        def replaced() -> None:
            raise NotOwner("generation 1 has been replaced by a newer one")

        it.store.maintain = replaced  # type: ignore[method-assign]
        it.clock.seconds += MAINTAIN_SECONDS + 1
        it.shard.timers.fire()
        for _ in range(100):
            if it.failed:
                break
            await asyncio.sleep(0.01)
        failed, it.failed = it.failed, []
        assert [type(error) for error in failed] == [NotOwner]

    play(scenario)
