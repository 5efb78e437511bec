"""Reasons that lie with the control plane, its database and the programs; and that each has a case."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support.explained import Asker, asking
from support.owner_harness import World, assigned, lose, play, started

from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.errors import InvalidRequest, StorageUnavailable
from taskyard_contract.id_factory import new_ids
from taskyard_contract.states import ReportKind, RunKind
from taskyard_contract.states import RunState as S
from taskyard_contract.states import WaitReason as W
from taskyard_controlplane.domain.memory import MemoryLimits
from taskyard_controlplane.owner.queueing import ceilings, delivery

Ask = Callable[..., None]


def test_each_reason_has_a_case() -> None:
    cases = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert set(re.findall(r"W\.([A-Z_]+)", cases)) == {reason.name for reason in W}


def test_it_is_not_recorded_yet(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client = it.client()
        it.agent()
        [run_id] = await client.submit()
        [waiting] = await client.submit(cache_keys=["k"])
        [held_back] = await client.submit(upstream=[(0, run_id)])
        text = "what was decided about it last is being recorded in the database"
        [explained] = it.owner.explaining.explain([run_id], {})[0].values()
        assert [(each.code, each.text) for each in explained.reasons] == [(W.DATABASE, text)]
        [explained] = it.owner.explaining.explain([waiting], {})[0].values()
        text = "the database is asked for its cache key"
        assert [(each.code, each.text) for each in explained.reasons] == [(W.DATABASE, text)]
        [explained] = it.owner.explaining.explain([held_back], {})[0].values()
        assert explained.reasons[0].code == W.UPSTREAM

    ask(scenario)


def test_the_database_takes_no_commits(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client, agent = it.client(), it.agent(credit=1)
        executed, run_id = await client.submit(2)
        await assigned(it, agent)
        agent.report([executed])
        await it.settle()
        it.shard.committer.stalled_since = it.clock.monotonic()
        text = "the database takes no commits at the moment, or does not answer"
        await asker.wait(run_id, W.DATABASE, text)
        assert await asker.line(run_id) == f"task-1 waits: {text}"
        it.shard.committer.stalled_since = None

    ask(scenario)


def test_runs_in_memory_are_explained_without_the_database(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client = it.client()
        [first] = await client.submit(queue="gpu")
        [second] = await client.submit(upstream=[(0, first)])
        await it.settle()

        async def rows(run_ids: object) -> list[object]:
            raise StorageUnavailable("it is being restarted")

        monkeypatch.setattr(asker.reading, "rows", rows)
        found = await asker.about(first, second)
        assert [W(each.waits[0].reason) for each in found] == [W.NO_AGENT, W.UPSTREAM]
        with pytest.raises(StorageUnavailable):
            await asker.about(first, b"?" * 16)

    ask(scenario)


def test_what_it_carries_is_being_read(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "UNSENT_BYTES", 2_000)
    monkeypatch.setattr(delivery, "LOAD_BYTES", 1_000)

    async def scenario(it: World, asker: Asker) -> None:
        client, agent = it.client(), it.agent("slow", chunk=1)
        ids = await client.submit(20, args=[b"x" * 1_000] * 20)
        await it.settle()
        text = "its arguments, or results that it needs, are being read for agent 'slow'"
        assert (await asker.wait(ids[-1], W.DELIVERY, text)).agent_name == "slow"
        while await assigned(it, agent):
            pass

    ask(scenario, memory=MemoryLimits(payload=5_000))


def test_the_control_plane_had_too_much_to_do(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ceilings, "MAX_UNCOMMITTED_RUNS", 3)

    async def scenario(it: World, asker: Asker) -> None:
        client = it.client()
        await client.submit(5)
        [refused] = await client.submit()
        text = "the control plane had too much to do to take it; its program submits it again"
        [explained] = await asker.about(refused)
        assert (explained.state, explained.name) == (0, "")
        assert [(W(each.reason), each.message) for each in explained.waits] == [(W.OVERLOADED, text)]
        assert await asker.line(refused) == f" a run waits: {text}"
        await it.settle()

    ask(scenario)


def test_a_flow_run_whose_program_has_not_started_it(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client = it.client()
        [flow] = await client.submit(kind=RunKind.FLOW, name="flow", queue="")
        await it.settle()
        text = "its program (test) executes it, and has not said that it has started"
        await asker.wait(flow, W.PROGRAM_STARTS, text)

    ask(scenario)


def test_a_flow_run_whose_program_is_away(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client = it.client()
        flow = await client.start_flow()
        client.disconnect()
        text = "its program (test) is not connected; it ends with the lease of that"
        await asker.wait(flow, W.PROGRAM_AWAY, text)
        assert await asker.line(flow) == f"flow-0 waits: {text}"

    ask(scenario)


def test_a_flow_run_between_two_attempts(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client = it.client()
        flow = await client.start_flow(retry={"max_retries": 1, "delays_ms": [5_000]})
        failed = sp.FlowReport(run_id=flow, event=3, attempt=1)  # type: ignore[arg-type]
        await client.send(flow_reports=[failed])
        await it.settle()
        await asker.wait(flow, W.RETRY_DELAY, "attempt 2 is due when its program starts it")

    ask(scenario)


def test_it_is_being_cancelled(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        client, agent = it.client(), it.agent("a")
        [run_id] = await client.submit()
        await assigned(it, agent)
        await client.send(cancel=[run_id])
        await it.settle()
        text = "it is being cancelled: agent 'a' ends its process"
        assert (await asker.wait(run_id, W.CANCELLING, text)).agent_name == "a"
        agent.report([run_id], kind=ReportKind.CANCELLED)
        await it.settle()
        assert [each.state for each in await asker.about(run_id)] == [S.CANCELLED]

    ask(scenario)


def test_the_agent_that_had_it_has_not_come_back_after_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        first = await started(f"sqlite:///{tmp_path}/yard.db")
        client, agent = first.client(), first.agent("a")
        [run_id] = await client.submit()
        await assigned(first, agent)
        await client.submit(queue="other")  # its commit takes along who has the run
        await first.settle()
        await lose(first)
        async with asking(tmp_path) as (it, asker):
            await it.settle()
            text = "the control plane was restarted, and agent 'a', which had it, has not come back yet"
            await asker.wait(run_id, W.AGENT_AWAY, text)

    asyncio.run(asyncio.wait_for(main(), 20))


def test_bad_questions_are_refused(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        for run_ids, text in (
            ([], "run_ids has 0 ids; at least one and at most 100 are explained"),
            (new_ids(101), "run_ids has 101 ids; at least one and at most 100 are explained"),
            ([b"1234"], r"run_ids\[0\] has 4 bytes; a run id has 16"),
        ):
            with pytest.raises(InvalidRequest, match=text):
                await asker.about(*run_ids)
        [twice] = await it.client().submit()
        await it.settle()
        assert [each.run_id for each in await asker.about(twice, twice)] == [twice, twice]

    ask(scenario)


def test_asking_changes_nothing() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=1)
        ids = await client.submit(5)
        await it.settle()
        before = {name: kept for name, kept in it.shard.kept().items() if kept}
        it.owner.explaining.explain(ids, {})
        assert {name: kept for name, kept in it.shard.kept().items() if kept} == before
        assert agent.receive() == ids[:1]
        for run_id in ids:
            agent.report([run_id])
            await it.settle()
            agent.receive()
        assert not any(it.shard.kept().values())

    play(scenario)
