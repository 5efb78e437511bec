"""What was lost with a stream is said again on the next one, and what is said twice counts once."""

from support.owner_harness import World, assigned, play

from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.id_factory import new_ids
from taskyard_contract.states import FlowEvent, ReportKind, RunState

S = RunState


def test_an_acknowledgement_lost_with_a_stream_is_said_again() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        run_ids = await client.submit()
        await it.settle()
        client.receive()  # taken from the session, but the stream breaks before it arrives
        client.disconnect()
        again = it.client(client.session.session_id)
        await again.submit(run_ids=run_ids, resend=True)
        await it.settle()
        again.receive()
        assert again.acknowledged == 1

    play(scenario)


def test_a_cancelled_run_restated_by_its_agent_still_ends() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit()
        await assigned(it, agent)
        agent.disconnect()
        await it.owner.cancel(run_id)
        again = it.agent(session_id=agent.session_id, held=list(agent.assigned.items()))
        again.assigned = agent.assigned
        again.receive()
        assert not again.welcome.drop
        assert again.cancels == [run_id]
        again.send(report_number=1, cancelled=[again.key(run_id)])
        await it.settle()
        assert client.state_of(run_id) == S.CANCELLED

    play(scenario)


def test_a_request_to_end_a_flow_is_repeated_on_a_new_stream() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        flow = await client.start_flow()
        await it.owner.cancel(flow)
        await it.settle()
        client.receive()
        client.disconnect()
        again = it.client(client.session.session_id)
        again.receive()
        assert again.cancel_requests == [flow]

    play(scenario)


def test_a_repeated_flow_failure_counts_once() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        flow = await client.start_flow(retry={"max_retries": 2, "delays_ms": [1000]})
        for _ in range(2):
            await client.send(flow_reports=[sp.FlowReport(run_id=flow, event=int(FlowEvent.FAILED))])  # type: ignore[arg-type]
            await it.settle()
        client.receive()
        assert [(one.state, one.attempt) for one in client.decisions[-2:]] == [(S.AWAITING_RETRY, 2)] * 2

    play(scenario)


def test_a_run_that_was_not_restated_is_not_lost_again_under_its_next_epoch() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit(retry={"max_retries": 1})
        await assigned(it, agent)
        agent.disconnect()
        again = it.agent(session_id=agent.session_id)
        again.assigned = agent.assigned
        again.report([run_id], kind=ReportKind.FAILED)
        assert await assigned(it, again) == [run_id]
        await it.advance(3)
        assert it.owner.state_of(run_id).infra_retries == 0
        assert client.state_of(run_id) is None

    play(scenario)


def test_a_resent_batch_is_not_refused_for_what_is_recorded() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        flow = await client.start_flow()
        ids = new_ids(3)
        await client.submit(run_ids=ids, flow=flow)
        await it.settle()
        await client.send(flow_reports=[sp.FlowReport(run_id=flow, event=int(FlowEvent.INTERRUPTED))])  # type: ignore[arg-type]
        await it.settle()
        client.disconnect()
        again = it.client(client.session.session_id)
        await again.submit(run_ids=ids, flow=flow, resend=True)
        await it.settle()
        assert [again.state_of(run_id) for run_id in ids] == [S.CANCELLED] * 3
        assert again.refused == {}

    play(scenario)
