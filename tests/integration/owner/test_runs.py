"""Runs between clients and agents played by the test: dispatch, dependencies, retries, cancellation."""

import pytest
from support.owner_harness import World, assigned, play

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_contract.errors import RunNotFound
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import ReportKind, RunState, StateReason, UpstreamKind

S = RunState


def test_a_submitted_run_is_acknowledged_assigned_and_its_result_pushed() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit()
        assert agent.receive() == []  # nothing runs that is not recorded
        assert await assigned(it, agent) == [run_id]
        client.receive()
        assert client.acknowledged == 1
        agent.report([run_id])
        assert client.state_of(run_id) is None  # nothing is shown that is not durable
        await it.settle()
        agent.receive()
        assert client.results == {} or client.results[run_id] == b"result"
        assert client.state_of(run_id) == S.COMPLETED
        assert it.owner.open_count() == 0

    play(scenario)


def test_runs_of_a_group_get_consecutive_epochs_in_one_chunk() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(chunk=10)
        ids = await client.submit(25)
        assert await assigned(it, agent) == ids
        assert [len(chunk.run_ids) // 16 for chunk in agent.chunks] == [10, 10, 5]
        epochs = [agent.assigned[run_id] for run_id in ids]
        assert epochs == list(range(epochs[0], epochs[0] + 25))

    play(scenario)


def test_credit_is_never_exceeded() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=3)
        ids = await client.submit(5)
        assert await assigned(it, agent) == ids[:3]
        agent.report(ids[:1])
        assert await assigned(it, agent) == ids[3:4]

    play(scenario)


def test_b7_results_of_upstream_runs_travel_with_the_assignment() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        first, second = await client.submit(2)
        [downstream] = await client.submit(upstream=[(0, first), (0, second)])
        assert await assigned(it, agent) == [first, second]
        agent.report([first])
        assert await assigned(it, agent) == []
        agent.report([second])
        assert await assigned(it, agent) == [downstream]
        assert agent.inputs_of(downstream) == {first: b"result", second: b"result"}

    play(scenario)


def test_an_upstream_run_that_ended_long_ago_is_found_in_the_database() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [upstream] = await client.submit()
        await assigned(it, agent)
        agent.report([upstream])
        await it.settle()
        it.shard.book.recent.clear()
        [downstream] = await client.submit(upstream=[(0, upstream)])
        assert await assigned(it, agent) == [downstream]
        assert agent.inputs_of(downstream) == {upstream: b"result"}

    play(scenario)


@pytest.mark.parametrize("kind", [UpstreamKind.DATA, UpstreamKind.ORDER])
def test_b7_a_failed_upstream_makes_the_run_not_ready(kind: UpstreamKind) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [upstream] = await client.submit()
        [downstream] = await client.submit(upstream=[(0, upstream, kind)])
        [further] = await client.submit(upstream=[(0, downstream)])
        await assigned(it, agent)
        agent.report([upstream], kind=ReportKind.FAILED, message="boom")
        await it.settle()
        assert client.state_of(upstream) == S.FAILED
        assert client.state_of(downstream) == S.NOT_READY
        assert client.state_of(further) == S.NOT_READY
        assert "did not reach a 'COMPLETED' state" in client.outcomes[downstream].message

    play(scenario)


def test_b7_allow_failure_hands_the_exception_over() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [upstream] = await client.submit()
        [downstream] = await client.submit(upstream=[(0, upstream, UpstreamKind.DATA_OR_FAILURE)])
        await assigned(it, agent)
        agent.report([upstream], kind=ReportKind.FAILED, message="boom")
        assert await assigned(it, agent) == [downstream]
        body, _ = agent.bodies[downstream]
        assert [(other.run_id, other.state, other.message) for other in body.others] == [
            (upstream, S.FAILED, "boom")
        ]

    play(scenario)


def test_b7_allow_failure_does_not_admit_crashed_or_cancelled() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [upstream] = await client.submit()
        [downstream] = await client.submit(upstream=[(0, upstream, UpstreamKind.DATA_OR_FAILURE)])
        await assigned(it, agent)
        agent.report([upstream], kind=ReportKind.INTERRUPTED)
        await it.settle()
        assert client.state_of(downstream) == S.NOT_READY

    play(scenario)


def test_an_unknown_upstream_makes_the_run_not_ready() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        [downstream] = await client.submit(upstream=[(0, new_id())])
        await it.settle()
        assert client.state_of(downstream) == S.NOT_READY

    play(scenario)


def test_b4_retries_wait_without_a_slot_and_keep_their_history() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        retry = {"max_retries": 1, "delays_ms": [5000]}
        [run_id] = await client.submit(retry=retry)
        await assigned(it, agent)
        agent.report([run_id], kind=ReportKind.FAILED, message="first")
        assert await assigned(it, agent) == []
        assert not agent.agent.held
        await it.advance(4)
        assert agent.receive() == []
        await it.advance(2)
        assert agent.receive() == [run_id]
        assert agent.bodies[run_id][0].extras[0].attempt == 2
        agent.report([run_id], kind=ReportKind.FAILED, message="second")
        await it.settle()
        assert client.state_of(run_id) == S.FAILED
        assert client.outcomes[run_id].message == "second"
        assert await it.history(run_id) == [S.RUNNING, S.AWAITING_RETRY, S.FAILED]

    play(scenario)


def test_a_task_condition_can_forbid_the_retry() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit(retry={"max_retries": 3})
        await assigned(it, agent)
        agent.report([run_id], kind=ReportKind.FAILED, not_retriable=True)
        await it.settle()
        assert client.state_of(run_id) == S.FAILED

    play(scenario)


def test_stale_reports_are_acknowledged_and_change_nothing() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit(retry={"max_retries": 1})
        await assigned(it, agent)
        old = agent.assigned[run_id]
        agent.report([run_id], kind=ReportKind.FAILED)
        assert await assigned(it, agent) == [run_id]
        agent.report([run_id], epoch=old)
        await it.advance(0.1)
        agent.receive()
        assert client.state_of(run_id) is None
        assert agent.acknowledged == 2
        assert it.owner.metrics.stale_reports == 1
        agent.report([run_id])
        await it.settle()
        assert client.state_of(run_id) == S.COMPLETED

    play(scenario)


@pytest.mark.parametrize("reason", [StateReason.TIMED_OUT, StateReason.WAITING_REFUSED])
def test_an_attempt_that_its_agent_ended_fails_and_is_retried(reason: StateReason) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit(retry={"max_retries": 1})
        for _ in range(2):
            assert await assigned(it, agent) == [run_id]
            lost = ap.LostRun(key=agent.key(run_id), reason=int(reason), message="too long")
            agent.send(report_number=1, lost=[lost])
        await it.settle()
        assert client.state_of(run_id) == S.FAILED
        assert client.outcomes[run_id].reason == reason

    play(scenario)


def test_a_dead_worker_is_an_infra_retry_with_a_limit_of_its_own() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit(max_infra_retries=2)
        for _ in range(3):
            assert await assigned(it, agent) == [run_id]
            agent.send(lost=[ap.LostRun(key=agent.key(run_id), reason=StateReason.WORKER_DIED, message="9")])
        await it.settle()
        assert client.state_of(run_id) == S.CRASHED
        assert client.outcomes[run_id].message == "9"

    play(scenario)


def test_an_agent_that_falls_silent_loses_its_runs() -> None:
    async def scenario(it: World) -> None:
        client, silent = it.client(), it.agent("silent", credit=1)
        [run_id] = await client.submit()
        assert await assigned(it, silent) == [run_id]
        silent.disconnect()
        other = it.agent("other")
        for _ in range(40):
            other.heartbeat()
            await it.advance(1)
        assert other.receive() == [run_id]
        assert other.assigned[run_id] > silent.assigned[run_id]

    play(scenario)


def test_a_stalled_owner_does_not_take_its_own_silence_for_that_of_others() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit()
        await assigned(it, agent)
        await it.advance(3600)
        assert run_id in agent.agent.held
        assert it.owner.metrics.leases_expired == 0

    play(scenario)


def test_an_agent_that_reconnects_keeps_what_it_restates() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        kept, gone = await client.submit(2)
        await assigned(it, agent)
        agent.disconnect()
        again = it.agent(session_id=agent.session_id, held=[(kept, agent.assigned[kept])], credit=0)
        assert again.adopted == [kept]
        await it.advance(3)
        assert set(agent.agent.held) == {kept}
        again.assigned = dict(agent.assigned)
        again.report([kept])
        await it.settle()
        assert client.state_of(kept) == S.COMPLETED
        assert client.state_of(gone) is None

    play(scenario)


def test_a_new_process_of_an_agent_takes_the_place_of_one_that_is_gone() -> None:
    async def scenario(it: World) -> None:
        client, old = it.client(), it.agent()
        [run_id] = await client.submit()
        await assigned(it, old)
        old.disconnect()
        new = it.agent()
        assert await assigned(it, new) == [run_id]

    play(scenario)


def test_cancelling_a_running_run_waits_for_the_confirmation() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        running, waiting = await client.submit(2, max_infra_retries=1)
        await assigned(it, agent)
        agent.send(started=[ap.StartedRun(key=agent.key(running), running_ms=100)])
        assert await it.owner.cancel(running) == S.CANCELLING
        agent.receive()
        assert agent.cancels == [running]
        assert client.state_of(running) is None
        agent.send(cancelled=[agent.key(running)])
        await it.settle()
        assert client.state_of(running) == S.CANCELLED
        assert await it.owner.cancel(running) == S.CANCELLED
        assert await it.history(running) == [S.CANCELLING, S.CANCELLED]
        assert client.state_of(waiting) is None

    play(scenario)


def test_cancelling_what_has_not_started_is_immediate() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        [run_id] = await client.submit()
        await it.settle()
        assert await it.owner.cancel(run_id) == S.CANCELLED
        agent = it.agent()
        assert await assigned(it, agent) == []
        with pytest.raises(RunNotFound):
            await it.owner.cancel(new_id())

    play(scenario)


def test_a_run_whose_upstream_failed_says_so() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [upstream] = await client.submit()
        [downstream] = await client.submit(upstream=[(0, upstream)])
        await assigned(it, agent)
        agent.report([upstream], kind=ReportKind.FAILED)
        await it.settle()
        assert client.state_of(downstream) == S.NOT_READY
        assert client.outcomes[downstream].reason == StateReason.UPSTREAM

    play(scenario)
