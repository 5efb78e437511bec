"""Rare meetings of two things: each of these once lost a run, doubled an effect or left somebody waiting."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from support.owner_harness import World, assigned, lose, play, started, world

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.errors import StorageFull, StorageUnavailable
from taskyard_contract.id_factory import new_ids
from taskyard_contract.states import FlowEvent, ReportKind, RunState, StateReason
from taskyard_controlplane.owner.journal import committer

S = RunState


def test_runs_read_back_from_the_backlog_survive_a_kill(tmp_path: Path) -> None:
    """How far recovery looks back must not pass runs that are only in the backlog."""
    url = f"sqlite:///{tmp_path}/yard.db"

    async def main() -> None:
        first = await started(url, 3)
        client, agent = first.client(), first.agent(credit=0)
        ids = await client.submit(6)
        await first.settle()
        await first.owner.cancel(ids[0])  # its place in the window is taken until somebody asks for work
        await first.settle()
        assert first.owner.open_count() == 0
        first.owner._maintain()
        await client.submit(queue="other")
        await first.settle()
        agent.send(credit=ap.Credit(granted_total=1, chunk_size=1))
        await client.submit(queue="other")
        await first.settle()
        assert len(agent.receive()) == 1
        await lose(first)
        async with world(url, window=3) as second:
            client = second.client(client.session.session_id, resume=True)
            await client.send(subscribe=ids)
            agent = second.agent(credit=50)
            for _ in range(40):
                agent.heartbeat()
                agent.report(agent.receive())
                await second.advance(1)
            client.receive()
            waiting = ids[1:]
            assert set(waiting) <= client.results.keys()

    asyncio.run(asyncio.wait_for(main(), 30))


def test_an_acknowledgement_lost_with_a_stream_is_said_again() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        run_ids = await client.submit()
        await it.settle()
        client.receive()  # taken from the session, but the stream breaks before it arrives
        client.disconnect()
        again = it.client(client.session.session_id, resume=True)
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
        again = it.client(client.session.session_id, resume=True)
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


@pytest.mark.parametrize("how", ["cancel", "withdraw"])
def test_runs_on_their_way_to_the_backlog_can_be_cancelled(how: str) -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        ids = await client.submit(9)
        await client.send(**{how: ids})
        await it.settle()
        assert [client.state_of(run_id) for run_id in ids] == [S.CANCELLED] * 9

    play(scenario, window=3)


def test_a_goodbye_ends_runs_on_their_way_to_the_backlog() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        ids = await client.submit(9)
        await client.send(goodbye=True)
        await it.settle()
        assert [(await it.history(run_id))[-1] for run_id in ids] == [S.CANCELLED] * 9

    play(scenario, window=3)


def test_a_crashed_flow_takes_its_runs_in_the_backlog_with_it() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=0)
        flow = await client.start_flow()
        ids = await client.submit(9, flow=flow)
        await it.settle()
        await client.send(flow_reports=[sp.FlowReport(run_id=flow, event=int(FlowEvent.INTERRUPTED))])  # type: ignore[arg-type]
        await it.settle()
        agent.send(credit=ap.Credit(granted_total=50, chunk_size=5))
        assert await assigned(it, agent) == []
        assert [client.state_of(run_id) for run_id in ids] == [S.CANCELLED] * 9

    play(scenario, window=3)


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


def test_waiting_for_a_run_in_the_backlog_leaves_it_there() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=0)
        ids = await client.submit(9)
        await it.settle()
        waiting = asyncio.ensure_future(it.owner.wait_ended(ids[-1]))
        await it.settle()
        assert ids[-1] not in it.runs
        agent.granted = 50
        agent.send(credit=ap.Credit(granted_total=50, chunk_size=9))
        for _ in range(5):
            agent.report(await assigned(it, agent))
        await it.settle()
        assert waiting.done()

    play(scenario, window=3)


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


def test_a_batch_that_may_be_recorded_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "RETRY_DELAYS", (0.0,))

    async def scenario(it: World) -> None:
        client, commit = it.client(), it.store.commit
        errors: list[Any] = [StorageUnavailable("its answer was lost"), StorageFull("no room")]

        def faulty(batch: Any) -> Any:
            if len(errors) == 2:
                commit(batch)
            if errors:
                raise errors.pop(0)
            return commit(batch)

        monkeypatch.setattr(it.store, "commit", faulty)
        [run_id] = await client.submit()
        for _ in range(5):
            await asyncio.sleep(0.01)
        await it.settle()
        client.receive()
        assert (client.acknowledged, client.refused) == (1, {})
        assert run_id in it.runs

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
        again = it.client(client.session.session_id, resume=True)
        await again.submit(run_ids=ids, flow=flow, resend=True)
        await it.settle()
        assert [again.state_of(run_id) for run_id in ids] == [S.CANCELLED] * 3
        assert again.refused == {}

    play(scenario)


def test_a_run_whose_upstream_failed_says_so() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [parent] = await client.submit()
        [child] = await client.submit(upstream=[(0, parent)])
        await assigned(it, agent)
        agent.report([parent], kind=ReportKind.FAILED)
        await it.settle()
        assert client.state_of(child) == S.NOT_READY
        assert client.outcomes[child].reason == StateReason.UPSTREAM

    play(scenario)


def test_credit_for_what_could_not_be_sent_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=1)
        put_blob = it.store.put_blob

        def failing(digest: bytes, data: bytes) -> None:
            monkeypatch.setattr(it.store, "put_blob", put_blob)
            raise StorageUnavailable("not now")

        monkeypatch.setattr(it.store, "put_blob", failing)
        [run_id] = await client.submit(args=[b"a" * 60_000])
        monkeypatch.setattr("taskyard_controlplane.owner.queueing.delivery.MAX_BODY_BYTES", 50_000)
        assert await assigned(it, agent) == []
        await it.advance(1)
        await it.settle()
        agent.receive()
        assert [chunk.run_ids for chunk in agent.chunks] == [run_id]
        assert agent.agent.credit == 0

    play(scenario)
