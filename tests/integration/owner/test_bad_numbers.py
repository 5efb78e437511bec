"""Numbers and ids that no peer should send are refused where they arrive, or harmless."""

import pytest
from support.owner_harness import World, assigned, play

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_api.v1 import template_pb2 as tp
from taskyard_contract.errors import InvalidRequest
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import ReportKind
from taskyard_controlplane.owner.journal.journal import HIGHEST_LEVEL


def test_a_lifetime_beyond_all_dates_is_no_end_of_the_server() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        longest = 86_399_999_999_999_999  # timedelta.max
        [run_id] = await client.submit(cache_keys=["k"], cache_expiration_ms=longest)
        await assigned(it, agent)
        agent.report([run_id])
        await it.settle()
        assert client.state_of(run_id) == 10

    play(scenario)


def test_a_retry_delay_beyond_all_dates_is_no_end_of_the_server() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        retry = tp.RetryPolicy(max_retries=1, delays_ms=[86_399_999_999_999_999])
        [run_id] = await client.submit(retry=retry)
        await assigned(it, agent)
        agent.report([run_id], kind=ReportKind.FAILED)
        await it.settle()
        assert run_id in it.runs, "it waits"

    play(scenario)


def test_times_beyond_all_dates_are_a_malformed_report() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit()
        await assigned(it, agent)
        columns = ap.ReportColumns(
            base_us=1, started_us=[(1 << 64) - 1], durations_us=[1], results=[b""]
        ).SerializeToString()
        chunk = ap.ReportChunk(first_epoch=agent.assigned[run_id], run_ids=run_id, columns=columns)
        with pytest.raises(InvalidRequest, match="beyond all dates"):
            agent.send(report_number=1, reports=[chunk])

    play(scenario)


def test_upstream_ids_of_another_length_are_refused() -> None:
    async def scenario(it: World) -> None:
        with pytest.raises(InvalidRequest):
            await it.client().submit(upstream=[(0, b"short")])

    play(scenario)


def test_an_upstream_kind_that_is_no_byte_is_refused() -> None:
    async def scenario(it: World) -> None:
        with pytest.raises(InvalidRequest):
            await it.client().submit(upstream=[(0, new_id(), 300)])

    play(scenario)


def test_an_id_twice_in_a_group_is_refused_as_a_whole() -> None:
    async def scenario(it: World) -> None:
        client, agent, run_id = it.client(), it.agent(), new_id()
        with pytest.raises(InvalidRequest, match="an id twice"):
            await client.submit(run_ids=[run_id, run_id])
        assert await assigned(it, agent) == []

    play(scenario)


def test_ordinals_that_no_database_has_room_for_are_refused() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        await client.submit()
        group = sp.RunGroup(template=1, run_ids=[new_id()], args=[b""], first_ordinal=2**31)
        with pytest.raises(InvalidRequest, match="ordinals above"):
            await client.send(submit=sp.SubmitBatch(number=2, groups=[group]))

    play(scenario)


@pytest.mark.parametrize("sender", ["client", "agent"])
def test_log_levels_have_an_end(sender: str) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit()
        await assigned(it, agent)
        logs = sp.LogBatch(
            run_ids=[run_id], at_us=[1], levels=[2**32 - 1], loggers=["l"], messages=["m"], run_names=["n"]
        )
        if sender == "client":
            await client.send(logs=logs)
        else:
            agent.send(logs=logs)
        assert [row[3] for row in it.shard.committer.open.rows.logs] == [HIGHEST_LEVEL]

    play(scenario)


def test_a_reason_that_nobody_knows_is_none() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit()
        await assigned(it, agent)
        agent.report([run_id], kind=ReportKind.FAILED, reason=70_000)
        await it.settle()
        [row] = await it.shard.stored.rows([run_id])
        assert row.reason == 0

    play(scenario)
