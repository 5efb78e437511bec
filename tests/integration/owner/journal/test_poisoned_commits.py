"""The same on both databases, and as it happens: what gets past the doors ends its run, not the server."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from support.owner_harness import Agent, World, assigned, kill_and_restart, play, world
from support.poisoned_commits import PoisonedYard

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import run_service_pb2, session_service_pb2, template_pb2
from taskyard_contract.errors import ErrorReason
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import FlowEvent, RunKind, RunState
from taskyard_controlplane.owner.rules import reporting

CODE = template_pb2.Code(task_name="task")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_row_takes_along_its_run_and_nothing_else_on_postgres(postgres_url: str, seed: int) -> None:
    choose = random.Random(seed).randrange

    async def scenario(it: World) -> None:
        yard = PoisonedYard(it, choose)
        await yard.submit(100)  # enough to be copied
        yard.spoil()
        await it.settle()
        for _ in range(8):
            await yard.submit(1 + choose(5))
            yard.report(failed=bool(choose(2)))
            yard.log()
            yard.spoil()
            if choose(2):
                await it.settle()
        await yard.check()
        assert it.owner.metrics.unstorable_rows > 0

    async def main() -> None:
        async with world(postgres_url) as it:
            await scenario(it)

    asyncio.run(asyncio.wait_for(main(), 60))


def report_beyond_all_numbers(agent: Agent, run_id: bytes) -> None:
    """Report a time that no column has room for, which only a door without a check lets in."""
    columns = ap.ReportColumns(
        base_us=2**63 - 1, started_us=[0], durations_us=[2**64 - 1], results=[b""]
    ).SerializeToString()
    chunk = ap.ReportChunk(first_epoch=agent.assigned[run_id], run_ids=run_id, columns=columns)
    agent._reports += 1
    agent.send(report_number=agent._reports, reports=[chunk])


def test_a_report_that_cannot_be_stored_survives_no_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "LATEST_US", 2**80)
    kept: dict[str, Any] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit()
        await assigned(it, agent)
        report_beyond_all_numbers(agent, run_id)
        kept.update(run_id=run_id, epoch=agent.assigned[run_id], agent=agent.session_id)
        kept.update(session=client.session.session_id)

    async def after(it: World) -> None:
        client = it.client(kept["session"])
        await client.send(subscribe=[kept["run_id"]])
        agent = it.agent(session_id=kept["agent"], held=[(kept["run_id"], kept["epoch"])])
        agent.assigned[kept["run_id"]] = kept["epoch"]
        report_beyond_all_numbers(agent, kept["run_id"])
        await it.settle()
        assert client.state_of(kept["run_id"]) == RunState.CRASHED
        assert "'ended_us' is a number of more than 64 bits" in client.outcomes[kept["run_id"]].message
        await it.advance(1)
        agent.receive()
        assert agent.acknowledged == 1
        [row] = await it.ask(lambda: it.store.runs_by_id([kept["run_id"]]))
        assert row.state == RunState.CRASHED

    kill_and_restart(tmp_path, before, after)


def test_a_flow_run_whose_state_cannot_be_stored_is_told_that_it_crashed() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        flow = await client.start_flow(retry=template_pb2.RetryPolicy(max_retries=1))
        [inside] = await client.submit(flow=flow, queue="nobody")
        await it.settle()
        report = session_service_pb2.FlowReport(run_id=flow, event=FlowEvent.FAILED.value, message="no")  # type: ignore[arg-type]
        await client.send(flow_reports=[report])
        [*others, event] = it.shard.committer.open.rows.events
        it.shard.committer.open.rows.events = [*others, (*event[:7], 2**63, *event[8:])]
        await it.settle()
        client.receive()
        assert client.decisions[-1].state == RunState.CRASHED
        assert client.state_of(inside) == RunState.CANCELLED
        [row] = await it.ask(lambda: it.store.runs_by_id([flow]))
        assert row.state == RunState.CRASHED

    play(scenario)


def test_a_call_hears_which_of_its_runs_cannot_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(it: World) -> None:
        template = template_pb2.RunTemplate(kind=RunKind.TASK, name="t", queue="q", code=CODE)  # type: ignore[arg-type]
        new = [run_service_pb2.NewRun(run_id=new_id(), template=template) for _ in range(2)]
        commit = it.store.commit

        def spoiling(batch: Any) -> Any:
            if len(batch.new_runs) == 2:
                batch.new_runs[0] = (*batch.new_runs[0][:14], 2**64, *batch.new_runs[0][15:])
            return commit(batch)

        monkeypatch.setattr(it.store, "commit", spoiling)
        [refused] = await it.owner.submit_unowned(new, [])
        assert (refused.run_id, refused.error.reason) == (new[0].run_id, ErrorReason.INVALID_REQUEST)
        assert "'submitted_us' is a number of more than 64 bits" in refused.message
        assert [row.run_id for row in await it.shard.stored.rows([run.run_id for run in new])] == [
            new[1].run_id
        ]

    play(scenario)


def test_runs_that_wait_for_one_that_cannot_be_recorded_do_not_wait_for_ever() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        [upstream] = await client.submit(queue="nobody")
        [row] = it.shard.committer.open.rows.new_runs
        it.shard.committer.open.rows.new_runs = [(*row[:8], 2**64, *row[9:])]
        [waiting] = await client.submit(upstream=[(0, upstream)])
        await it.settle()
        assert client.state_of(waiting) == RunState.NOT_READY
        assert upstream in client.refused

    play(scenario)
