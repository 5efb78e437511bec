"""Numbers and ids that no peer should send are refused where they arrive, or harmless."""

from pathlib import Path

import pytest
from support.owner_harness import World, assigned, kill_and_restart, play

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_api.v1 import template_pb2 as tp
from taskyard_contract.errors import InvalidRequest
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import FlowEvent, ReportKind, RunState
from taskyard_controlplane.owner.journal import template_reading
from taskyard_controlplane.owner.journal.journal import HIGHEST_LEVEL
from taskyard_controlplane.owner.queueing.backlog import WINDOW


def test_a_lifetime_beyond_all_dates_is_no_end_of_the_server() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        longest = 86_399_999_999_999_999  # timedelta.max
        [run_id] = await client.submit(cache_keys=["k"], cache_expiration_ms=longest)
        await assigned(it, agent)
        agent.report([run_id])
        await it.settle()
        assert client.state_of(run_id) == RunState.COMPLETED

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
        assert [row[3] for row in it.shard.logs._open.rows] == [HIGHEST_LEVEL]

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


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), float("-inf"), -0.5])
def test_a_jitter_that_is_no_range_is_refused(factor: float) -> None:
    async def scenario(it: World) -> None:
        retry = tp.RetryPolicy(max_retries=1, delays_ms=[1000], jitter_factor=factor)
        with pytest.raises(InvalidRequest, match="jitter factor"):
            await it.client().submit(retry=retry)

    play(scenario)


def test_a_jitter_of_earlier_releases_counts_as_one() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        retry = tp.RetryPolicy(max_retries=1, delays_ms=[10_000], jitter_factor=1e10)
        [run_id] = await client.submit(retry=retry)
        await assigned(it, agent)
        agent.report([run_id], kind=ReportKind.FAILED)
        await it.advance(20)
        assert it.runs[run_id].state != RunState.AWAITING_RETRY

    play(scenario, draw=lambda: 0.999)


@pytest.mark.parametrize("occurred_us", [-1, -(2**63), 2**63 - 1])
def test_times_of_flow_reports_beyond_all_dates_are_refused(occurred_us: int) -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        flow = await client.start_flow(cache_keys=["k"], cache_expiration_ms=10_000)
        good = sp.FlowReport(run_id=flow, event=FlowEvent.SUCCEEDED.value)  # type: ignore[arg-type]
        bad = sp.FlowReport(run_id=flow, event=FlowEvent.SUCCEEDED.value, occurred_us=occurred_us)  # type: ignore[arg-type]
        with pytest.raises(InvalidRequest, match="beyond all dates"):
            await client.send(flow_reports=[good, bad])
        assert it.runs[flow].state == RunState.RUNNING, "nothing of the frame was applied"

    play(scenario)


def test_a_malformed_report_leaves_nothing_of_its_frame_behind() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        ids = await client.submit(2)
        await assigned(it, agent)
        good = ap.ReportColumns(base_us=1, started_us=[0], durations_us=[1], results=[b""])
        bad = ap.ReportColumns(
            base_us=1, started_us=[0], durations_us=[1], results=[b""],
            exceptions=[ap.ReportException(position=0, kind=77)],  # type: ignore[arg-type]
        )  # fmt: skip
        chunks = [
            ap.ReportChunk(
                first_epoch=agent.assigned[run_id], run_ids=run_id, columns=columns.SerializeToString()
            )
            for run_id, columns in zip(ids, (good, bad), strict=True)
        ]
        with pytest.raises(InvalidRequest, match="unknown kind 77"):
            agent.send(report_number=1, reports=chunks)
        assert [it.runs[run_id].state for run_id in ids] == [RunState.ASSIGNED] * 2

    play(scenario)


def test_a_malformed_group_leaves_nothing_of_its_batch_behind() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        await client.submit(queue="nobody")
        good = sp.RunGroup(template=1, run_ids=[new_id()], args=[b""])
        bad = sp.RunGroup(template=1, run_ids=[b"short"], args=[b""])
        with pytest.raises(InvalidRequest, match="not 16 bytes"):
            await client.send(submit=sp.SubmitBatch(number=2, groups=[good, bad]))
        assert good.run_ids[0] not in it.runs

    play(scenario)


@pytest.mark.parametrize("sender", ["client", "agent"])
@pytest.mark.parametrize(("at_us", "kept"), [(-(2**63), 0), (2**63 - 1, 1 << 60)])
def test_times_of_log_records_are_dates(sender: str, at_us: int, kept: int) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit()
        await assigned(it, agent)
        logs = sp.LogBatch(run_ids=[run_id], at_us=[at_us], levels=[1], loggers=["l"], messages=["m"])
        if sender == "client":
            await client.send(logs=logs)
        else:
            agent.send(logs=logs)
        assert [row[2] for row in it.shard.logs._open.rows] == [kept]

    play(scenario)


@pytest.mark.parametrize("key", ["k\0", "\0", "k" * 20_000])
def test_any_text_is_a_cache_key(key: str) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [first] = await client.submit(cache_keys=[key])
        await assigned(it, agent)
        agent.report([first])
        await it.settle()
        [second] = await client.submit(cache_keys=[key])
        [other] = await client.submit(cache_keys=[key + "x"])
        assert await assigned(it, agent) == [other]
        assert client.state_of(second) == RunState.COMPLETED
        agent.report([other])

    play(scenario)


@pytest.mark.parametrize("field", ["queue", "encoding"])
@pytest.mark.parametrize("name", ["q" * 1025, "q\0"])
def test_names_that_no_index_holds_are_refused(field: str, name: str) -> None:
    async def scenario(it: World) -> None:
        with pytest.raises(InvalidRequest):
            await it.client().submit(**{field: name})

    play(scenario)


@pytest.mark.parametrize("window", [WINDOW, 1])
def test_runs_of_a_stored_template_that_is_refused_today_end_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    ids: list[bytes] = []
    sessions: list[bytes] = []

    async def before(it: World) -> None:
        client = it.client()
        ids.extend(await client.submit(4, queue="nobody"))
        sessions.append(client.session.session_id)
        await it.settle()

    def refuse() -> None:
        def refusing(*_: object) -> None:
            raise InvalidRequest("names of queues are no longer 'nobody'")

        monkeypatch.setattr(template_reading, "read_template", refusing)

    async def after(it: World) -> None:
        client = it.client(sessions[0])
        await client.send(subscribe=ids)
        await it.settle()
        rows = await it.ask(lambda: it.store.runs_by_id(ids))
        assert [row.state for row in rows] == [RunState.CRASHED] * 4
        assert {client.state_of(run_id) for run_id in ids} == {RunState.CRASHED}
        assert "no longer 'nobody'" in client.outcomes[ids[0]].message
        with pytest.raises(InvalidRequest, match="does not take the template"):
            await client.submit(queue="nobody")

    kill_and_restart(tmp_path, before, after, window=window, meanwhile=refuse)
