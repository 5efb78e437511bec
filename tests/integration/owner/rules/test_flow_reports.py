"""Reports about flow runs that are repeated because their answers were lost."""

from pathlib import Path
from typing import Any

import pytest
from support.owner_harness import World, assigned, kill_and_restart, play

from taskyard_api.v1 import common_pb2, failure_pb2
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.errors import ErrorReason, InvalidRequest
from taskyard_contract.states import FlowEvent, RunState, StateReason

S = RunState
TWO_RETRIES = {"max_retries": 2, "delays_ms": [1000]}


def report(flow: bytes, attempt: int, event: FlowEvent, **fields: Any) -> sp.FlowReport:
    return sp.FlowReport(run_id=flow, attempt=attempt, event=event, **fields)  # type: ignore[arg-type]


async def row_of(it: World, run_id: bytes) -> Any:
    """Return what the database has of a run."""
    return (await it.ask(lambda: it.store.runs_by_id([run_id])))[0]


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
        client = it.client(found["session"])
        await client.send(flow_reports=[report(flow, 1, FlowEvent.FAILED)])
        await it.settle()
        client.receive()
        assert [(one.state, one.attempt) for one in client.decisions] == [(S.AWAITING_RETRY, 2)]
        await client.send(
            flow_reports=[report(flow, 2, FlowEvent.STARTED), report(flow, 2, FlowEvent.SUCCEEDED)]
        )
        await it.settle()
        assert await it.history(flow) == [S.RUNNING, S.AWAITING_RETRY, S.COMPLETED]

    kill_and_restart(tmp_path, before, after)


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
        again = it.client(client.session.session_id)
        await again.send(flow_reports=[report(flow, 1, FlowEvent.FAILED)])
        await it.settle()
        again.receive()
        assert [(one.state, one.attempt) for one in again.decisions] == [(S.AWAITING_RETRY, 2)]

    play(scenario)


@pytest.mark.parametrize(
    ("event", "state"),
    [
        (FlowEvent.SUCCEEDED, S.COMPLETED),
        (FlowEvent.FAILED, S.FAILED),
        (FlowEvent.CANCELLED, S.CANCELLED),
        (FlowEvent.INTERRUPTED, S.CRASHED),
    ],
)
def test_the_end_of_a_flow_is_recorded_as_it_was_reported(event: FlowEvent, state: RunState) -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        flow = await client.start_flow()
        ended = it.clock.now_us() + 5_000_000
        told: dict[str, Any] = {
            "occurred_us": ended,
            "message": "so it is",
            "state_name": "Mine",
            "reason": int(StateReason.STATE_BY_HAND),
            "result": common_pb2.Payload(encoding="json/plain", data=b"1"),
            "failure": failure_pb2.Failure(type="ValueError", message="no"),
        }
        await client.send(flow_reports=[report(flow, 1, event, **told)])
        it.clock.seconds += 60
        await it.settle()
        row = await row_of(it, flow)
        outcome = sp.RunOutcome.FromString(row.outcome)
        assert (row.state, row.reason, row.ended_us) == (state, StateReason.STATE_BY_HAND, ended)
        assert (outcome.message, outcome.state_name) == ("so it is", "Mine")
        assert (outcome.result, outcome.failure) == (told["result"], told["failure"])

    play(scenario)


def test_a_flow_does_not_start_before_it_was_submitted() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        submitted = it.clock.now_us()
        for occurred, began in ((submitted - 1_000_000, submitted), (submitted + 7, submitted + 7)):
            [flow] = await client.submit(kind=2, name="flow", queue="")
            await client.send(
                flow_reports=[
                    report(flow, 1, FlowEvent.STARTED, occurred_us=occurred),
                    report(flow, 1, FlowEvent.SUCCEEDED),
                ]
            )
            await it.settle()
            assert (await row_of(it, flow)).started_us == began

    play(scenario)


def test_each_attempt_of_a_flow_has_its_own_delay_and_is_recorded_under_its_number() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        retry = {"max_retries": 2, "delays_ms": [1000, 4000], "jitter_factor": 0.5}
        flow = await client.start_flow(retry=retry)
        for attempt in (1, 2):
            await client.send(
                flow_reports=[
                    report(flow, attempt, FlowEvent.STARTED),
                    report(flow, attempt, FlowEvent.FAILED, state_name="Mine"),
                ]
            )
            await it.settle()
        client.receive()
        delays = [one.retry_after_ms for one in client.decisions if one.state == S.AWAITING_RETRY]
        assert delays == [500, 2000]
        row = await row_of(it, flow)
        events = await it.ask(lambda: it.store.events_of([row.seq]))
        assert [(one.state, one.attempt, one.state_name) for one in events] == [
            (S.RUNNING, 1, None),
            (S.AWAITING_RETRY, 2, "Mine"),
            (S.RUNNING, 2, None),
            (S.AWAITING_RETRY, 3, "Mine"),
        ]

    play(scenario, draw=lambda: 0.0)


def test_only_the_session_of_a_flow_run_reports_about_it_and_is_asked_to_end_it() -> None:
    async def scenario(it: World) -> None:
        first, second = it.client(), it.client()
        flow = await first.start_flow()
        await second.send(flow_reports=[report(flow, 1, FlowEvent.SUCCEEDED)])
        second.receive()
        assert second.refused[flow].error.reason == ErrorReason.PERMISSION_DENIED
        assert it.runs[flow].state == S.RUNNING
        await it.owner.cancel(flow)
        await it.settle()
        for client in (first, second):
            client.receive()
        assert (first.cancel_requests, second.cancel_requests) == ([flow], [])
        first.disconnect()
        again = it.client(first.session.session_id)
        again.receive()
        assert again.cancel_requests == [flow]

    play(scenario)


def test_only_a_flow_run_is_reported_about_by_a_client() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [task] = await client.submit()
        assert await assigned(it, agent) == [task]
        with pytest.raises(InvalidRequest, match="not a flow run"):
            await client.send(flow_reports=[report(task, 1, FlowEvent.SUCCEEDED)])
        flow = await client.start_flow()
        with pytest.raises(InvalidRequest, match="unknown event"):
            await client.send(flow_reports=[sp.FlowReport(run_id=flow)])
        assert it.runs[task].state == S.ASSIGNED

    play(scenario)


def test_what_was_cancelled_says_why() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        [run_id] = await client.submit()
        await client.send(cancel=[run_id])
        await it.settle()
        assert client.state_of(run_id) == S.CANCELLED
        assert client.outcomes[run_id].reason == (await row_of(it, run_id)).reason
        assert client.outcomes[run_id].reason == StateReason.CANCEL_REQUESTED

    play(scenario)


def test_runs_added_to_a_flow_that_is_being_cancelled_end_with_it() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=0)
        flow = await client.start_flow()
        await it.owner.cancel(flow)
        [late] = await client.submit(flow=flow)
        await it.settle()
        await client.send(flow_reports=[sp.FlowReport(run_id=flow, event=int(FlowEvent.CANCELLED))])  # type: ignore[arg-type]
        await it.settle()
        assert client.state_of(late) == S.CANCELLED
        assert agent.receive() == []

    play(scenario)
