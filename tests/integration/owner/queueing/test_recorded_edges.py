"""Edges that nothing waits for: where values came from, and those of flow runs, whose sessions wait."""

from pathlib import Path
from typing import Any

from support.owner_harness import World, assigned, kill_and_restart, play

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import FlowEvent, ReportKind, RunKind, RunState, StateReason, UpstreamKind
from taskyard_controlplane.domain.edges import split_edges

S = RunState
K = UpstreamKind


async def edges_of(it: World, run_id: bytes) -> list[tuple[bytes, int]]:
    """Return what the database has of what a run depends on."""
    row: Any = (await it.ask(lambda: it.store.runs_by_id([run_id])))[0]
    return split_edges(row.upstream or b"")


def never(flow: bytes, attempt: int = 1) -> sp.FlowReport:
    """Say that a flow run never starts."""
    return sp.FlowReport(
        run_id=flow,
        attempt=attempt,
        event=FlowEvent.FAILED,  # type: ignore[arg-type]  # equal enums
        reason=StateReason.UPSTREAM,  # type: ignore[arg-type]
        message="it failed",
    )


def test_row_57_where_a_value_came_from_is_recorded_and_nothing_waits_for_it() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        gone, flow = new_id(), new_id()
        edges = [(0, gone, K.RESULT), (0, flow, K.FLOW_RESULT)]
        [run] = await client.submit(upstream=edges)
        assert await assigned(it, agent) == [run], "there need not be such runs any more"
        assert await edges_of(it, run) == [(gone, K.RESULT), (flow, K.FLOW_RESULT)]
        agent.report([run])
        await it.settle()
        assert client.state_of(run) == S.COMPLETED

    play(scenario)


def test_row_57_other_edges_of_the_run_are_waited_for_all_the_same() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [first] = await client.submit()
        [run] = await client.submit(upstream=[(0, new_id(), K.RESULT), (0, first, K.ORDER)])
        assert await assigned(it, agent) == [first]
        assert [kind for _, kind in await edges_of(it, run)] == [K.RESULT, K.ORDER]
        agent.report([first])
        await it.settle()
        assert await assigned(it, agent) == [run]

    play(scenario)


def test_row_57_runs_with_known_values_wait_in_the_database_like_others() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=0)
        came_from = new_id()
        edges = [(position, came_from, K.RESULT) for position in range(6)]
        runs = await client.submit(6, upstream=edges)
        await it.settle()
        assert it.owner.backlog_count() > 0
        agent.granted = 100
        agent.send(credit=ap.Credit(granted_total=100, chunk_size=1))
        taken: list[bytes] = []
        for _ in range(8):
            agent.heartbeat()
            new = agent.receive()
            agent.report(new)
            taken += new
            await it.advance(1)
        assert taken == runs
        assert await edges_of(it, runs[-1]) == [(came_from, K.RESULT)]

    play(scenario, window=2)


def test_row_57_a_restarted_server_does_not_wait_either(tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client = it.client()
        found["session"] = client.session.session_id
        [found["run"]] = await client.submit(upstream=[(0, new_id(), K.RESULT)])
        await it.settle()

    async def after(it: World) -> None:
        it.client(found["session"])
        assert await assigned(it, it.agent()) == [found["run"]]

    kill_and_restart(tmp_path, before, after)


def test_row_63_a_flow_run_that_needs_what_failed_never_starts() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [failed] = await client.submit()
        await assigned(it, agent)
        agent.report([failed], kind=ReportKind.FAILED)
        await it.settle()
        edges = [(0, failed, K.DATA)]
        retry = {"max_retries": 3, "delays_ms": [0]}
        [flow] = await client.submit(kind=RunKind.FLOW, name="flow", queue="", upstream=edges, retry=retry)
        for _ in range(2):  # the answer may be lost with a stream
            await client.send(flow_reports=[never(flow)])
            await it.settle()
        client.receive()
        assert client.decisions[0].state == S.NOT_READY
        assert await it.history(flow) == [S.NOT_READY]
        assert await edges_of(it, flow) == [(failed, K.DATA)]

    play(scenario)


def test_row_63_a_flow_run_starts_when_its_session_says_so_whatever_it_depends_on() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        [still_open] = await client.submit()
        edges = [(0, still_open, K.ORDER)]
        flow = await client.start_flow(upstream=edges)
        await client.send(flow_reports=[never(flow, 0)])  # and not after it has ended
        assert await edges_of(it, flow) == [(still_open, K.ORDER)]

    play(scenario)


def test_row_63_a_restarted_server_takes_the_report_too(tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client = it.client()
        edges = [(0, new_id(), K.DATA)]
        [flow] = await client.submit(kind=RunKind.FLOW, name="flow", queue="", upstream=edges)
        found.update(flow=flow, session=client.session.session_id)
        await it.settle()

    async def after(it: World) -> None:
        client = it.client(found["session"])
        await client.send(flow_reports=[never(found["flow"])])
        await it.settle()
        client.receive()
        assert [one.state for one in client.decisions] == [S.NOT_READY]

    kill_and_restart(tmp_path, before, after)


def test_row_63_a_cancelled_flow_run_that_never_starts_is_cancelled() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        flow = await client.start_flow()
        await it.owner.cancel(flow)
        await client.send(flow_reports=[never(flow)])
        await it.settle()
        client.receive()
        assert client.decisions[-1].state == S.CANCELLED

    play(scenario)
