"""Each retry and each bad end of a run is one line in its log, written with the state."""

from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.owner_harness import Agent, Client, World, assigned, kill_and_restart, play

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import failure_pb2, template_pb2
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.states import FlowEvent, ReportKind, RunState, StateReason
from taskyard_controlplane.owner.rules import telling
from taskyard_controlplane.storage import create_reader

BOOM: dict[str, Any] = {
    "kind": ReportKind.FAILED,
    "message": "Task run encountered an exception ValueError: boom",
    "failure": failure_pb2.Failure(type="ValueError", message="boom"),
}
FAILED = "Finished in state Failed('Task run encountered an exception ValueError: boom')"


async def lines(it: World, run_id: bytes) -> list[str]:
    """Return what the log of a run says."""
    [row] = await it.ask(lambda: it.store.runs_by_id([run_id]))
    with closing(create_reader(it.url)) as reader:
        return [record.message for record in reader.logs(row.seq, 0, 5_000, 1 << 24)]


def shown(client: Client) -> list[tuple[str, str]]:
    client.receive()
    return client.shown


def test_an_attempt_that_is_retried_says_so_and_when() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(says_ends=True), it.agent()
        policy = template_pb2.RetryPolicy(max_retries=1, delays_ms=[200])
        [run] = await client.submit(retry=policy)
        await assigned(it, agent)
        agent.report([run], **BOOM)
        await it.settle()
        retry = "Attempt 1 of 2 failed (ValueError: boom); next in 0.2 s"
        assert await lines(it, run) == [retry]
        assert shown(client) == [("task-0", retry)], "no outcome tells it"
        await it.advance(1)
        await assigned(it, agent)
        agent.report([run], **BOOM)
        await it.settle()
        assert await lines(it, run) == [retry, f"{FAILED}, attempt 2 of 2"]
        assert shown(client) == [("task-0", retry)], "of the end it says itself what the outcome tells"
        outcome = client.outcomes[run]
        assert (outcome.run_name, outcome.attempt, outcome.attempts, outcome.said) == ("task-0", 2, 2, False)

    play(scenario)


Ending = Callable[[World, Client, Agent, bytes], Awaitable[object]]


async def by_failure(it: World, client: Client, agent: Agent, run: bytes) -> None:
    agent.report([run], **BOOM)


async def by_refusal(it: World, client: Client, agent: Agent, run: bytes) -> None:
    refused = {**BOOM, "message": "no form", "reason": StateReason.RESULT_REFUSED, "not_retriable": True}
    agent.report([run], **refused)


async def by_size(it: World, client: Client, agent: Agent, run: bytes) -> None:
    agent.report([run], value=bytes(200_000))


async def by_exit(it: World, client: Client, agent: Agent, run: bytes) -> None:
    agent.report([run], kind=ReportKind.INTERRUPTED, reason=StateReason.INTERRUPTED, message="exit call")


async def by_timeout(it: World, client: Client, agent: Agent, run: bytes) -> None:
    lost = ap.LostRun(key=agent.key(run), reason=StateReason.TIMED_OUT, message="too long")  # type: ignore[arg-type]
    agent.send(lost=[lost])


async def by_missing_code(it: World, client: Client, agent: Agent, run: bytes) -> None:
    reason: Any = StateReason.CODE_UNAVAILABLE
    agent.send(lost=[ap.LostRun(key=agent.key(run), reason=reason, message="no code")])


async def by_request(it: World, client: Client, agent: Agent, run: bytes) -> None:
    await client.send(cancel=[run], requested_by="ann", cancel_reason="wrong input")
    await it.settle()
    agent.send(cancelled=[agent.key(run)])


ENDS: dict[Ending, str] = {
    by_failure: FAILED,
    by_refusal: "Finished in state Failed('no form')",
    by_size: "Finished in state Failed('the result has 200,000 bytes inline, the server takes 65,536; agents "
    "send more as blobs')",
    by_exit: "Finished in state Crashed('exit call')",
    by_timeout: "Finished in state TimedOut('too long', type=FAILED)",
    by_missing_code: "Finished in state Failed('no code')",
    by_request: "Finished in state Cancelled('cancelled by ann: wrong input')",
}


@pytest.mark.parametrize("says_ends", [True, False])
@pytest.mark.parametrize("ending", ENDS, ids=lambda ending: ending.__name__)
def test_each_bad_end_is_one_line(ending: Ending, says_ends: bool) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(says_ends=says_ends), it.agent()
        [run] = await client.submit()
        await assigned(it, agent)
        await ending(it, client, agent, run)
        await it.settle()
        assert client.state_of(run) is not None
        assert await lines(it, run) == [ENDS[ending]]
        assert shown(client) == ([] if says_ends else [("task-0", ENDS[ending])])

    play(scenario)


def test_b7_not_ready_names_the_first_run_that_failed() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [bad] = await client.submit(name="bad")
        [after] = await client.submit(upstream=[(0, bad)])
        [last] = await client.submit(upstream=[(0, after)])
        await assigned(it, agent)
        agent.report([bad], **BOOM)
        await it.settle()
        why = "Upstream task run 'bad-0' did not reach a 'COMPLETED' state: it failed: ValueError: boom"
        for run in (after, last):
            assert await lines(it, run) == [f'Finished in state NotReady("{why}", type=PENDING)']
            client.receive()
            assert client.outcomes[run].message == why

    play(scenario)


def test_a_run_that_completes_says_nothing() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run] = await client.submit()
        await assigned(it, agent)
        agent.report([run])
        await it.settle()
        assert await lines(it, run) == []

    play(scenario)


def test_an_attempt_that_was_lost_with_its_agent_is_said_and_made_again() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(says_ends=True), it.agent()
        [run] = await client.submit()
        await assigned(it, agent)
        agent.send(started=[ap.StartedRun(key=agent.key(run))])
        lost = ap.LostRun(key=agent.key(run), reason=StateReason.WORKER_DIED, message="killed")  # type: ignore[arg-type]
        agent.send(lost=[lost])
        await it.settle()
        line = "Attempt lost (killed); executed again at once, loss 1 of at most 3"
        assert await lines(it, run) == [line]
        assert shown(client) == [("task-0", line)]

    play(scenario)


@pytest.mark.parametrize("count", [1, 3_000])
def test_a_cancelled_flow_says_of_all_runs_inside_at_once_that_they_ended(count: int) -> None:
    async def scenario(it: World) -> None:
        client = it.client(says_ends=True)
        flow = await client.start_flow()
        runs = await client.submit(count, flow=flow)
        await it.settle()
        await client.send(cancel=[flow])
        await it.settle()
        await client.send(flow_reports=[sp.FlowReport(run_id=flow, event=FlowEvent.CANCELLED)])  # type: ignore[arg-type]
        await it.settle()
        [together, end] = await lines(it, flow)
        which = "1 run inside it was" if count == 1 else "3,000 runs inside it were"
        assert together == f"{which} cancelled"
        assert end.startswith("Finished in state Cancelled(")
        assert await lines(it, runs[0]) == []
        client.receive()
        assert {client.outcomes[run].said for run in runs} == {True}
        assert client.shown == [("flow-0", together)]

    play(scenario)


def test_a_failing_flow_says_how_many_runs_it_has_withdrawn() -> None:
    async def scenario(it: World) -> None:
        client = it.client(says_ends=True)
        flow = await client.start_flow()
        runs = await client.submit(10, flow=flow)
        await it.settle()
        for part in (runs[:5], runs[5:]):
            await client.send(withdraw=part)
            await it.settle()
        report = sp.FlowReport(run_id=flow, event=FlowEvent.FAILED, message="enough")  # type: ignore[arg-type]
        await client.send(flow_reports=[report])
        await it.settle()
        assert await lines(it, flow) == [
            "10 runs inside it were cancelled",
            "Finished in state Failed('enough')",
        ]

    play(scenario)


def test_a_program_that_is_interrupted_says_of_many_runs_at_once_that_it_has_cancelled_them() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(says_ends=True), it.agent(credit=5)
        flow = await client.start_flow()
        runs = await client.submit(telling.MANY + 1, flow=flow)
        held = await assigned(it, agent)
        await client.send(cancel=runs)
        await it.settle()
        agent.send(cancelled=[agent.key(run) for run in held])
        report = sp.FlowReport(run_id=flow, event=FlowEvent.INTERRUPTED, message="Ctrl-C")  # type: ignore[arg-type]
        await client.send(flow_reports=[report])
        await it.settle()
        assert await lines(it, flow) == [
            "11 runs inside it were cancelled",
            "Finished in state Crashed('Ctrl-C')",
        ]
        client.receive()
        assert {client.outcomes[run].said for run in runs} == {True}
        assert client.outcomes[runs[0]].message == "cancelled together with others by test"

    play(scenario)


def test_a_program_that_is_gone_leaves_a_complete_log() -> None:
    async def scenario(it: World) -> None:
        client = it.client(says_ends=True)
        flow = await client.start_flow()
        await client.submit(20, flow=flow)
        await it.settle()
        await client.send(goodbye=True)
        await it.settle()
        assert await lines(it, flow) == [
            "Finished in state Crashed('the process that owned it (test) is gone')",
            "20 runs inside it were cancelled",
        ]

    play(scenario)


def test_row_69_a_flow_run_says_its_own_last_line_and_its_retries() -> None:
    async def scenario(it: World) -> None:
        client = it.client(says_ends=True)
        policy = template_pb2.RetryPolicy(max_retries=1, delays_ms=[200])
        flow = await client.start_flow(retry=policy)
        failure = failure_pb2.Failure(type="RuntimeError", message="why")
        failed = sp.FlowReport(run_id=flow, event=FlowEvent.FAILED, failure=failure, attempt=1)  # type: ignore[arg-type]
        for _ in range(2):  # repeated, because the answer was lost: said once
            await client.send(flow_reports=[failed])
            await it.settle()
        done = sp.FlowReport(run_id=flow, event=FlowEvent.SUCCEEDED, attempt=2)  # type: ignore[arg-type]
        for _ in range(2):
            await client.send(flow_reports=[done])
            await it.settle()
        assert await lines(it, flow) == [
            "Attempt 1 of 2 failed (RuntimeError: why); next in 0.2 s",
            "Finished in state Completed()",
        ]
        assert shown(client) == [], "it says both itself"

    play(scenario)


def test_of_ends_in_great_numbers_only_the_first_are_said_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "MOST_ALIKE", 5)

    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        flow = await client.start_flow()
        [bad] = await client.submit(name="bad", flow=flow)
        after = await client.submit(2_500, flow=flow, upstream=[(place, bad) for place in range(2_500)])
        await assigned(it, agent)
        agent.report([bad], **BOOM)
        await it.settle()
        said = await lines(it, flow)
        assert [line.startswith("Finished in state NotReady") for line in said] == [False] + [True] * 5 + [
            False
        ]
        assert said[-1].startswith("Many more runs of this task")
        client.receive()
        told = [client.outcomes[run] for run in after]
        assert [outcome.said for outcome in told].count(False) == 5
        assert {int(outcome.state) for outcome in told} == {int(RunState.NOT_READY)}
        await it.advance(telling.WHILE_SECONDS + 1)
        [later] = await client.submit(name="bad", flow=flow)
        await assigned(it, agent)
        agent.report([later], **BOOM)
        await it.settle()
        assert (await lines(it, flow))[-1] == FAILED

    play(scenario)


def test_what_a_task_calls_is_said_to_the_program() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(says_ends=True), it.agent()
        [outer] = await client.submit(name="outer")
        await assigned(it, agent)
        worker = it.client(caller_run_id=outer, says_ends=True)
        [inner] = await worker.submit(name="inner")
        await assigned(it, agent)
        agent.report([inner], **BOOM)
        await it.settle()
        assert shown(client) == [("inner-0", FAILED)]
        assert shown(worker) == []

    play(scenario)


def test_what_was_said_is_not_said_again_after_a_restart(tmp_path: Path) -> None:
    kept: dict[str, Any] = {}

    async def before(it: World) -> None:
        client, agent = it.client(says_ends=True), it.agent()
        kept["session"] = client.session.session_id
        [kept["run"]] = await client.submit()
        await assigned(it, agent)
        agent.report([kept["run"]], **BOOM)
        await it.settle()

    async def after(it: World) -> None:
        client = it.client(kept["session"], says_ends=True)
        await client.send(subscribe=[kept["run"]])
        await it.settle()
        assert client.state_of(kept["run"]) == RunState.FAILED
        assert not client.outcomes[kept["run"]].said, "who comes back hears it from the outcome"
        assert await lines(it, kept["run"]) == [FAILED]

    kill_and_restart(tmp_path, before, after)


def test_an_end_is_said_once_by_a_program_that_comes_back_after_its_agent(tmp_path: Path) -> None:
    kept: dict[str, Any] = {}

    async def before(it: World) -> None:
        client, agent = it.client(says_ends=True), it.agent()
        kept["session"], kept["agent"] = client.session.session_id, agent.session_id
        [kept["run"]] = await client.submit(flow=await client.start_flow())
        await assigned(it, agent)
        kept["epoch"] = agent.assigned[kept["run"]]
        await it.settle()

    async def after(it: World) -> None:
        agent = it.agent(session_id=kept["agent"], held=[(kept["run"], kept["epoch"])])
        agent.assigned[kept["run"]] = kept["epoch"]
        agent.report([kept["run"]], **BOOM)
        client = it.client(kept["session"], says_ends=True)  # before the commit with the line
        await client.send(subscribe=[kept["run"]])
        await it.settle()
        assert client.state_of(kept["run"]) == RunState.FAILED
        assert not client.outcomes[kept["run"]].said
        assert (shown(client), await lines(it, kept["run"])) == ([], [FAILED])

    kill_and_restart(tmp_path, before, after)


def test_somebody_who_cancels_one_run_is_always_named() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        flow = await client.start_flow()
        [run] = await client.submit(flow=flow)
        await it.settle()
        reason = "the flow run 'x' ended or was cancelled"
        await client.send(cancel=[run], requested_by="ann", cancel_reason=reason)
        await it.settle()
        [line] = await lines(it, run)
        assert line.startswith('Finished in state Cancelled("cancelled by ann: the flow run')

    play(scenario)
