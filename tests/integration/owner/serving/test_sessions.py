"""Sessions, flows, the backlog, and what is refused."""

from pathlib import Path

import pytest
from support.owner_harness import CALLER, World, assigned, kill_and_restart, play

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import run_service_pb2, states_pb2, template_pb2
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.errors import InvalidRequest, UnsupportedProtocol
from taskyard_contract.id_factory import new_id, new_ids
from taskyard_contract.states import RunState

S = RunState
CODE = template_pb2.Code(task_name="task")


def test_a_lost_session_crashes_its_flow_and_cancels_what_has_not_started() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=1)
        flow = await client.start_flow()
        running, waiting = await client.submit(2, flow=flow)
        assert await assigned(it, agent) == [running]
        client.disconnect()
        for _ in range(40):
            agent.heartbeat()
            await it.advance(1)
        assert await it.history(flow) == [S.CRASHED]
        assert await it.history(waiting) == [S.CANCELLED]
        agent.report([running])
        await it.settle()
        assert await it.history(running) == [S.COMPLETED]

    play(scenario)


def test_a_client_that_says_goodbye_ends_its_session_at_once() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        [run_id] = await client.submit()
        await it.settle()
        await client.send(goodbye=True)
        await it.settle()
        assert await it.history(run_id) == [S.CANCELLED]
        assert it.owner.idle()

    play(scenario)


def test_a_run_without_a_session_outlives_whoever_has_subscribed_to_it(tmp_path: Path) -> None:
    template = template_pb2.RunTemplate(
        kind=states_pb2.RUN_KIND_TASK, name="task", queue="default", code=CODE
    )
    new = run_service_pb2.NewRun(run_id=new_id(), template=template)

    async def before(it: World) -> None:
        client = it.client()
        assert await it.owner.submit_unowned([new], []) == []
        await client.send(subscribe=[new.run_id])
        await client.send(goodbye=True)
        await it.settle()
        assert await it.history(new.run_id) == [S.READY]

    async def after(it: World) -> None:
        client = it.client()
        await client.send(subscribe=[new.run_id])
        await client.send(goodbye=True)
        listener = it.client()
        await listener.send(subscribe=[new.run_id])
        agent = it.agent()
        assert await assigned(it, agent) == [new.run_id]
        agent.report([new.run_id])
        await it.settle()
        assert listener.state_of(new.run_id) == S.COMPLETED
        assert it.owner.open_count() == 0

    kill_and_restart(tmp_path, before, after)


def test_a_session_that_comes_back_in_time_goes_on() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        ids = await client.submit(2)
        await assigned(it, agent)
        client.disconnect()
        agent.report(ids[:1])
        await it.settle()
        again = it.client(client.session.session_id)
        await again.send(subscribe=ids)
        agent.report(ids[1:])
        await it.settle()
        assert [again.state_of(run_id) for run_id in ids] == [S.COMPLETED] * 2

    play(scenario)


def test_a_resent_batch_is_accepted_once() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        ids = await client.submit(3)
        await assigned(it, agent)
        agent.report(ids[:1])
        await it.settle()
        client.disconnect()
        again = it.client(client.session.session_id)
        extra = new_id()
        await again.submit(run_ids=[*ids, extra], resend=True)
        assert await assigned(it, agent) == [extra]
        assert again.state_of(ids[0]) == S.COMPLETED
        assert again.acknowledged == 1

    play(scenario)


def test_a_run_id_used_before_is_refused() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit()
        await assigned(it, agent)
        agent.report([run_id])
        await it.settle()
        await client.submit(run_ids=[run_id, new_id()])
        assert len(await assigned(it, agent)) == 1
        client.receive()
        assert "submitted before" in client.refused[run_id].message

    play(scenario)


def test_flow_reports_are_decided_by_the_control_plane() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        flow = await client.start_flow(retry={"max_retries": 1, "delays_ms": [1500]})
        await client.send(flow_reports=[sp.FlowReport(run_id=flow, event=3, message="boom")])
        await it.settle()
        client.receive()
        decision = client.decisions[-1]
        assert (decision.state, decision.retry_after_ms, decision.attempt) == (S.AWAITING_RETRY, 1500, 2)
        await client.send(flow_reports=[sp.FlowReport(run_id=flow, event=1)])
        await client.send(flow_reports=[sp.FlowReport(run_id=flow, event=2)])
        await it.settle()
        client.receive()
        assert client.decisions[-1].state == S.COMPLETED
        assert await it.history(flow) == [S.RUNNING, S.AWAITING_RETRY, S.COMPLETED]

    play(scenario)


def test_cancelling_a_flow_tells_its_process_and_ends_its_runs() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=1)
        flow = await client.start_flow()
        running, waiting = await client.submit(2, flow=flow)
        await assigned(it, agent)
        assert await it.owner.cancel(flow) == S.CANCELLING
        await it.settle()
        client.receive()
        agent.receive()
        assert client.cancel_requests == [flow]
        assert agent.cancels == [running]
        assert client.state_of(waiting) == S.CANCELLED
        await client.send(flow_reports=[sp.FlowReport(run_id=flow, event=4)])
        await it.settle()
        assert (await it.history(flow))[-1] == S.CANCELLED

    play(scenario)


def test_runs_cannot_be_added_to_a_flow_that_has_ended() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        flow = await client.start_flow()
        await client.send(flow_reports=[sp.FlowReport(run_id=flow, event=2)])
        await it.settle()
        [run_id] = await client.submit(flow=flow)
        client.receive()
        assert "has ended" in client.refused[run_id].message

    play(scenario)


def test_a_queue_beyond_the_window_stays_in_the_database_and_in_order() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        ids = []
        for _ in range(20):
            ids += await client.submit(10, name="same")
        await it.settle()
        assert it.owner.open_count() == 40
        assert it.owner.backlog_count() == 160
        agent = it.agent(credit=30)
        seen: list[bytes] = []
        while new := await assigned(it, agent):
            seen += new
            agent.report(new)
            await it.settle()
        assert seen == ids
        assert it.owner.backlog_count() == 0
        assert all(client.state_of(run_id) == S.COMPLETED for run_id in ids)

    play(scenario, window=40)


def test_a_run_in_the_backlog_can_be_cancelled_and_waited_for() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        ids = await client.submit(10) + await client.submit(10)
        [downstream] = await client.submit(upstream=[(0, ids[-1])])
        await it.settle()
        assert await it.owner.cancel(ids[12]) == S.CANCELLED
        agent = it.agent()
        first = await assigned(it, agent)
        assert downstream not in first
        agent.report(first)
        rest = await assigned(it, agent)
        assert set(first + rest) - {downstream} == set(ids) - {ids[12]}
        agent.report([run_id for run_id in rest if run_id != downstream])
        await it.settle()
        assert downstream in agent.assigned or await assigned(it, agent) == [downstream]

    play(scenario, window=10)


def test_the_backlog_of_a_lost_session_is_cancelled() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        ids = await client.submit(10) + await client.submit(10)
        await it.settle()
        await client.send(goodbye=True)
        await it.settle()
        agent = it.agent()
        assert await assigned(it, agent) == []
        for run_id in ids:
            assert await it.history(run_id) == [S.CANCELLED]

    play(scenario, window=10)


def test_malformed_frames_are_refused_with_a_reason() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        with pytest.raises(InvalidRequest, match="16 bytes"):
            await client.submit(run_ids=[b"short"])
        with pytest.raises(InvalidRequest, match=r"args .* has 1 entries for 3 runs"):
            await client.submit(3, args=[b"one"])
        with pytest.raises(InvalidRequest, match="not a ReportColumns"):
            agent.send(report_number=1, reports=[ap.ReportChunk(run_ids=b"x" * 16, columns=b"\xff\xff")])
        with pytest.raises(InvalidRequest, match="names 2 runs"):
            agent.send(report_number=1, reports=[ap.ReportChunk(run_ids=b"x" * 32)])
        hello = sp.SessionHello(protocol_min=7, protocol_max=9, session_id=new_id())
        with pytest.raises(UnsupportedProtocol, match="7 to 9"):
            it.owner.connections.clients.open(hello, CALLER, lambda: None, lambda error: None)

    play(scenario)


def test_arguments_beyond_the_inline_limit_are_refused_run_by_run() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        small, large = await client.submit(2, args=[b"x", b"x" * 70_000])
        assert await assigned(it, agent) == [small]
        client.receive()
        assert client.refused[large].error.limit == 65_536

    play(scenario)


def test_withdrawing_leaves_what_has_started() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=1)
        flow = await client.start_flow()
        running, waiting = await client.submit(2, flow=flow)
        assert await assigned(it, agent) == [running]
        await client.send(withdraw=[running, waiting, new_id()])
        await it.settle()
        assert client.state_of(waiting) == S.CANCELLED
        assert client.state_of(running) is None
        agent.report([running])
        await it.settle()
        assert client.state_of(running) == S.COMPLETED

    play(scenario)


def test_whoever_waits_for_the_run_of_another_session_only_hears_of_it() -> None:
    async def scenario(it: World) -> None:
        client, listener, leaving = it.client(), it.client(), it.client()
        [run_id] = await client.submit()
        for each in (listener, listener, leaving):
            await each.send(subscribe=[run_id])
        await leaving.send(goodbye=True)
        await it.settle()
        agent = it.agent()
        assert await assigned(it, agent) == [run_id]
        agent.report([run_id])
        await it.settle()
        assert client.state_of(run_id) == listener.state_of(run_id) == S.COMPLETED
        assert not any(it.shard.kept().values())

    play(scenario)


def test_a_session_that_has_ended_is_not_kept_for_runs_it_waited_for() -> None:
    async def scenario(it: World) -> None:
        client, leaving, other = it.client(), it.client(), it.client()
        [run_id] = await client.submit()
        for each in (leaving, other):
            await each.send(subscribe=[run_id])
        await leaving.send(goodbye=True)
        assert it.shard.watchers.count(run_id) == 1
        await other.send(goodbye=True)
        assert it.shard.kept()["awaited runs"] == 0

    play(scenario)


def test_a_run_ends_with_the_session_it_belongs_to_whoever_waits_for_it() -> None:
    async def scenario(it: World) -> None:
        client, listener = it.client(), it.client()
        [run_id] = await client.submit()
        await listener.send(subscribe=[run_id])
        await client.send(goodbye=True)
        await it.settle()
        assert listener.state_of(run_id) == S.CANCELLED

    play(scenario)


@pytest.mark.parametrize("late", [False, True])
def test_a_flow_run_can_be_waited_for_from_elsewhere(late: bool) -> None:
    """It stays with the session that executes it, which alone is asked to end its body."""

    async def scenario(it: World) -> None:
        client, listener = it.client(), it.client()
        flow = await client.start_flow()
        if not late:
            await listener.send(subscribe=[flow], cancel=[flow], withdraw=[flow])
            await it.settle()
            client.receive()
            assert client.cancel_requests == [], "it belongs to somebody else"
            await client.send(cancel=[flow])
            await it.settle()
            client.receive()
            listener.receive()
            assert (client.cancel_requests, listener.cancel_requests) == ([flow], [])
        await client.send(flow_reports=[sp.FlowReport(run_id=flow, event=2)])  # type: ignore[arg-type]
        await it.settle()
        if late:
            await listener.send(subscribe=[flow])
        assert listener.state_of(flow) == (S.COMPLETED if late else S.CANCELLED)
        assert client.state_of(flow) is None, "it was told by a decision"

    play(scenario)


def test_all_who_wait_for_a_run_of_no_session_are_told() -> None:
    template = template_pb2.RunTemplate(
        kind=states_pb2.RUN_KIND_TASK, name="task", queue="default", code=CODE
    )

    async def scenario(it: World) -> None:
        new = [run_service_pb2.NewRun(run_id=run_id, template=template) for run_id in new_ids(4)]
        assert await it.owner.submit_unowned(new, []) == []
        ids, listeners = [run.run_id for run in new], [it.client() for _ in range(3)]
        for each in listeners:
            await each.send(subscribe=ids)
        agent = it.agent(credit=1)
        for _ in ids:
            agent.report(await assigned(it, agent))
        await it.settle()
        for each in listeners:
            assert [each.state_of(run_id) for run_id in ids] == [S.COMPLETED] * len(ids)
        assert not any(it.shard.kept().values())

    play(scenario, window=2)
