"""Reports that come twice, late or for a run that is being ended: what is recorded of them."""

from typing import Any

from support.owner_harness import Agent, World, assigned, play

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import common_pb2 as cm
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.states import FlowEvent, ReportKind, RunState, StateReason
from taskyard_controlplane.storage.interface import StoredRun

S = RunState


async def row_of(it: World, run_id: bytes) -> StoredRun:
    """Return what is recorded of a run."""
    rows: list[StoredRun] = await it.ask(lambda: it.store.runs_by_id([run_id]))
    return rows[0]


def test_logs_that_are_sent_again_are_kept_once() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit()
        await assigned(it, agent)
        rows: list[object] = []
        store: Any = it.store.logs
        append = store.append

        def noted(new: Any, *rest: Any) -> None:
            rows.extend(new)
            append(new, *rest)

        store.append = noted
        logs = sp.LogBatch(
            run_ids=[run_id], at_us=[1], levels=[20], loggers=["l"], messages=["m"], run_names=["n"]
        )
        agent.send(report_number=1, logs=logs)
        await it.settle()
        agent.disconnect()
        again = it.agent(session_id=agent.session_id, held=list(agent.assigned.items()))
        again.send(report_number=1, logs=logs)
        again.send(report_number=2, logs=logs)
        await it.settle()
        assert len(rows) == 2

    play(scenario)


def test_a_failure_while_being_cancelled_is_the_cancellation() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        ids = await client.submit(2, retry={"max_retries": 1})
        await assigned(it, agent)
        for run_id in ids:
            await it.owner.cancel(run_id)
        agent.report(ids[:1], kind=ReportKind.FAILED, message="boom")
        agent.report(ids[1:])
        await it.settle()
        for run_id in ids:
            assert client.state_of(run_id) == S.CANCELLED
            outcome, row = client.outcomes[run_id], await row_of(it, run_id)
            assert int(outcome.reason) == row.reason == StateReason.CANCEL_REQUESTED
            assert (outcome.HasField("result"), row.result, row.attempt) == (False, None, 1)

    play(scenario)


def test_a_flow_that_returned_while_being_cancelled_is_cancelled() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        flow = await client.start_flow()
        await it.owner.cancel(flow)
        report = sp.FlowReport(run_id=flow, event=int(FlowEvent.SUCCEEDED))  # type: ignore[arg-type]
        await client.send(flow_reports=[report])
        await it.settle()
        row = await row_of(it, flow)
        assert (row.state, row.reason) == (S.CANCELLED, StateReason.CANCEL_REQUESTED)

    play(scenario)


def test_times_are_those_of_whoever_executed() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        ids = await client.submit(2)
        await assigned(it, agent)
        began = it.clock.now_us()
        agent.report(ids[:1])
        agent.report(ids[1:], kind=ReportKind.FAILED)
        it.clock.seconds += 5
        await it.settle()
        for run_id in ids:
            row = await row_of(it, run_id)
            assert (row.started_us, row.ended_us) == (began, began + 5)

    play(scenario)


def test_a_run_that_never_started_ends_when_it_was_cancelled() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        [run_id] = await client.submit()
        await it.settle()
        it.clock.seconds += 5
        await it.owner.cancel(run_id)
        row = await row_of(it, run_id)
        assert (row.started_us, row.ended_us) == (None, it.clock.now_us())

    play(scenario)


def test_a_late_report_about_an_ended_flow_run_gets_what_is_recorded() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        flow = await client.start_flow()
        await client.send(flow_reports=[sp.FlowReport(run_id=flow, event=int(FlowEvent.SUCCEEDED))])  # type: ignore[arg-type]
        await it.settle()
        client.receive()
        client.decisions.clear()
        await client.send(flow_reports=[sp.FlowReport(run_id=flow, event=int(FlowEvent.FAILED))])  # type: ignore[arg-type]
        await it.settle()
        client.receive()
        assert [int(decision.state) for decision in client.decisions] == [S.COMPLETED]

    play(scenario)


def test_the_logs_of_a_run_reach_the_client_that_waits_for_it_once_they_are_stored() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit()
        await assigned(it, agent)
        woken: list[int] = []
        client.session.wake = lambda: woken.append(1)
        logs = sp.LogBatch(
            run_ids=[run_id], at_us=[1], levels=[20], loggers=["l"], messages=["m"], run_names=[""]
        )
        agent.send(logs=logs)
        assert not woken, "a server that is killed now hears of them again, and would show them twice"
        await it.settle()
        assert woken
        frame = client.session.next_frame()
        assert frame is not None
        assert (list(frame.logs.messages), list(frame.logs.run_names)) == (["m"], ["task-0"])

    play(scenario)


def test_a_cancelled_run_does_not_carry_the_name_of_the_failed_state_it_reported() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit()
        await assigned(it, agent)
        await it.owner.cancel(run_id)
        agent.report([run_id], kind=ReportKind.FAILED, state_name="NotEnoughData")
        await it.settle()
        client.receive()
        assert client.outcomes[run_id].state_name == ""

    play(scenario)


def word(agent: Agent, run_id: bytes, text: str, epoch: int = 0) -> ap.RunProgress:
    key = agent.key(run_id)
    details = cm.Payload(encoding="json/plain", data=text.encode())
    return ap.RunProgress(key=ap.RunKey(run_id=run_id, epoch=epoch or key.epoch), details=details, at_us=1)


def heard(agent: Agent, run_id: bytes) -> str:
    """What the attempt of a run hears of the one before."""
    body, position = agent.bodies[run_id]
    return "".join(one.last_progress.data.decode() for one in body.extras if one.position == position)


def test_the_next_attempt_hears_of_the_progress_of_the_last_one() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        failed, lost, other = await client.submit(3, retry={"max_retries": 2})
        await assigned(it, agent)
        assert heard(agent, failed) == ""
        agent.send(progress=[word(agent, failed, "1"), word(agent, lost, "2")])
        agent.send(progress=[word(agent, failed, "3")])
        agent.report([failed], kind=ReportKind.FAILED, message="boom")
        agent.send(lost=[ap.LostRun(key=agent.key(lost), reason=StateReason.WORKER_DIED.value)])
        agent.report([other], kind=ReportKind.FAILED, message="boom")
        await it.advance(60)
        await assigned(it, agent)
        assert [heard(agent, run_id) for run_id in (failed, lost, other)] == ["3", "2", ""]
        agent.report([failed, lost, other])
        await it.settle()
        assert len(it.shard.book.progress) == 0, "forgotten with the end of the run"

    play(scenario)


def test_progress_of_many_runs_makes_no_message_too_large() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        run_ids = await client.submit(20, retry={"max_retries": 1})
        await assigned(it, agent)
        agent.send(progress=[word(agent, run_id, str(n % 10) * 60_000) for n, run_id in enumerate(run_ids)])
        agent.report(run_ids, kind=ReportKind.FAILED, message="boom")
        agent.chunks.clear()
        await it.advance(60)
        await assigned(it, agent)
        sizes = [chunk.ByteSize() for chunk in agent.chunks]
        assert len(sizes) > 1
        assert max(sizes) < 600_000
        assert [heard(agent, run_id)[:1] for run_id in run_ids] == [str(n % 10) for n in range(20)]
        agent.report(run_ids)
        await it.settle()
        assert {client.state_of(run_id) for run_id in run_ids} == {S.COMPLETED}

    play(scenario)


def test_progress_that_is_late_foreign_or_too_large_is_ignored() -> None:
    async def scenario(it: World) -> None:
        client, agent, stranger = it.client(), it.agent(), it.agent("b", credit=0)
        [run_id] = await client.submit()
        await assigned(it, agent)
        agent.send(progress=[word(agent, run_id, "late", epoch=agent.assigned[run_id] - 1)])
        stranger.send(progress=[word(agent, run_id, "foreign")])
        agent.send(progress=[word(agent, run_id, "x" * 100_000)])
        blob = word(agent, run_id, "")
        blob.details.blob.digest = b"d" * 32
        agent.send(progress=[blob])
        assert len(it.shard.book.progress) == 0
        agent.report([run_id])
        agent.send(progress=[word(agent, run_id, "after the end")])
        await it.settle()
        assert len(it.shard.book.progress) == 0
        assert client.state_of(run_id) == S.COMPLETED

    play(scenario)
