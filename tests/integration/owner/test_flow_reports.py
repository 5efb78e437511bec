"""Reports about flow runs that are repeated because their answers were lost."""

from pathlib import Path
from typing import Any

from support.owner_harness import World, crash_and_restart, play

from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.states import FlowEvent, RunState

S = RunState
TWO_RETRIES = {"max_retries": 2, "delays_ms": [1000]}


def report(flow: bytes, attempt: int, event: FlowEvent) -> sp.FlowReport:
    return sp.FlowReport(run_id=flow, attempt=attempt, event=event)  # type: ignore[arg-type]


def test_a_failure_repeated_with_its_start_counts_once() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        flow = await client.start_flow(retry=TWO_RETRIES)
        told = [report(flow, 1, FlowEvent.STARTED), report(flow, 1, FlowEvent.FAILED)]
        for _ in range(2):
            await client.send(flow_reports=told)
            await it.settle()
        client.receive()
        answers = [(one.state, one.attempt, one.retry_after_ms) for one in client.decisions[-2:]]
        assert answers == [(S.RUNNING, 2, 0), (S.AWAITING_RETRY, 2, 1000)]
        assert await it.history(flow) == [S.RUNNING, S.AWAITING_RETRY, S.PENDING], "its row is still open"

    play(scenario)


def test_a_failure_repeated_to_a_restarted_server_counts_once(tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client = it.client()
        found.update(flow=await client.start_flow(retry=TWO_RETRIES), session=client.session.session_id)
        await client.send(flow_reports=[report(found["flow"], 1, FlowEvent.FAILED)])
        await it.settle()  # durable, but the answer never arrives

    async def after(it: World) -> None:
        flow = found["flow"]
        client = it.client(found["session"], resume=True)
        await client.send(flow_reports=[report(flow, 1, FlowEvent.FAILED)])
        await it.settle()
        client.receive()
        assert [(one.state, one.attempt) for one in client.decisions] == [(S.AWAITING_RETRY, 2)]
        await client.send(
            flow_reports=[report(flow, 2, FlowEvent.STARTED), report(flow, 2, FlowEvent.SUCCEEDED)]
        )
        await it.settle()
        assert await it.history(flow) == [S.RUNNING, S.AWAITING_RETRY, S.COMPLETED]

    crash_and_restart(tmp_path, before, after)


def test_a_flow_cancelled_meanwhile_is_not_retried() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        flow = await client.start_flow(retry=TWO_RETRIES)
        await client.send(
            flow_reports=[report(flow, 1, FlowEvent.FAILED), report(flow, 2, FlowEvent.STARTED)]
        )
        await it.owner.cancel(flow)
        await client.send(flow_reports=[report(flow, 1, FlowEvent.FAILED)])
        await it.settle()
        client.receive()
        assert client.decisions[-1].state == S.CANCELLED

    play(scenario)


def test_answers_that_a_broken_stream_left_behind_are_not_sent_twice() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        flow = await client.start_flow(retry=TWO_RETRIES)
        client.receive()
        await client.send(flow_reports=[report(flow, 1, FlowEvent.FAILED)])
        await it.settle()
        client.disconnect()
        again = it.client(client.session.session_id, resume=True)
        await again.send(flow_reports=[report(flow, 1, FlowEvent.FAILED)])
        await it.settle()
        again.receive()
        assert [(one.state, one.attempt) for one in again.decisions] == [(S.AWAITING_RETRY, 2)]

    play(scenario)
