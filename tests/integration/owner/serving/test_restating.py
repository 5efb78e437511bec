"""What agents say they hold, against what the owner believes."""

from pathlib import Path
from typing import Any

import pytest
from support.owner_harness import Agent, World, assigned, kill_and_restart, play

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_contract.errors import AgentExists, StreamReplaced
from taskyard_contract.states import ReportKind
from taskyard_contract.states import RunState as S
from taskyard_controlplane.owner.journal.restoring import read_dispatches
from taskyard_controlplane.owner.queueing.dispatch_log import FEW_DISPATCHES
from taskyard_controlplane.owner.serving.restating import RESTATE_SECONDS


async def pass_time(it: World, agent: Agent, seconds: int) -> None:
    """Let time pass for an agent that is connected."""
    for _ in range(0, seconds, 4):
        agent.heartbeat()
        await it.advance(4)


def infra_retries(it: World, run_id: bytes) -> int:
    return it.runs[run_id].infra_retries


def started(agent: Agent, run_id: bytes) -> None:
    agent.send(started=[ap.StartedRun(key=agent.key(run_id), running_ms=100)])


def back(it: World, agent: Agent, held: list[bytes], **options: Any) -> Agent:
    """A new stream of the same process."""
    agent.disconnect()
    again = it.agent(
        agent.agent.agent_id, session_id=agent.session_id, held=[(one, agent.assigned[one]) for one in held],
        **options,
    )  # fmt: skip
    again.assigned = dict(agent.assigned)
    return again


def test_runs_that_did_not_arrive_cost_nothing_however_often() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit(max_infra_retries=1)
        for _ in range(8):
            assert await assigned(it, agent) == [run_id]
            agent = back(it, agent, [])
            await pass_time(it, agent, 64)
        assert await assigned(it, agent) == [run_id]
        assert infra_retries(it, run_id) == 0
        agent.report([run_id])
        await it.settle()
        assert client.state_of(run_id) == S.COMPLETED

    play(scenario)


def test_an_agent_that_does_not_receive_is_paused_and_others_are_preferred() -> None:
    async def scenario(it: World) -> None:
        client, deaf = it.client(), it.agent("deaf")
        ids = await client.submit(10)
        await it.settle()
        deaf = back(it, deaf, [])
        other = it.agent("other", credit=0)
        await it.advance(2)
        assert deaf.agent.credit == 0, "paused"
        other.send(credit=ap.Credit(granted_total=100, chunk_size=100))
        assert await assigned(it, other) == ids
        [later] = await client.submit()
        other.heartbeat()
        assert await assigned(it, deaf) == []
        assert await assigned(it, other) == [later]

    play(scenario)


def test_the_pause_of_an_agent_that_does_not_receive_ends_and_grows() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit()
        await it.settle()
        for pause in (1.0, 2.0, 4.0):
            agent.agent.restating.clear()
            agent = back(it, agent, [])
            await it.advance(2.0)  # what it had finished would have been reported by now
            await it.advance(pause - 0.1)
            assert await assigned(it, agent) == []
            await it.advance(0.2)
            assert list(agent.agent.held) == [run_id], "sent once more"
        agent.receive()
        agent.report([run_id])
        assert agent.agent.unreceived == 0
        await it.settle()

    play(scenario)


def test_what_started_and_is_not_restated_counts_as_lost() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit()
        await assigned(it, agent)
        started(agent, run_id)
        back(it, agent, [])
        await it.advance(3)
        assert infra_retries(it, run_id) == 1

    play(scenario)


def test_runs_that_waited_at_an_agent_which_is_lost_are_innocent_three_times() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        [run_id] = await client.submit(max_infra_retries=1)
        for retries in (0, 0, 0, 1):
            agent = it.agent()
            assert await assigned(it, agent) == [run_id]
            agent.disconnect()
            await it.advance_slowly(40)
            assert infra_retries(it, run_id) == retries
        agent = it.agent()
        assert await assigned(it, agent) == [run_id]
        agent.disconnect()
        await it.advance_slowly(40)
        assert client.state_of(run_id) == S.CRASHED

    play(scenario)


def test_to_be_told_that_a_run_started_is_no_proof_that_it_is_held(tmp_path: Path) -> None:
    """The owner went away right after it had assigned a run, and does not know that it had."""
    known: dict[str, Any] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent()
        known["ids"] = await client.submit()
        known["epoch"] = it.owner.generation << 32 | 1
        known["session"] = client.session.session_id
        await it.settle()
        assert agent.receive() == known["ids"]

    async def after(it: World) -> None:
        [run_id] = known["ids"]
        client = it.client(known["session"])
        agent = it.agent(credit=0)  # its lease lapsed: it holds nothing any more
        key = ap.RunKey(run_id=run_id, epoch=known["epoch"])
        agent.send(started=[ap.StartedRun(key=key, running_ms=100)])
        assert run_id not in agent.agent.held
        await it.advance_slowly(33)
        agent = it.agent("other")
        assert await assigned(it, agent) == [run_id]
        agent.report([run_id])
        await it.settle()
        assert client.state_of(run_id) == S.COMPLETED

    kill_and_restart(tmp_path, before, after)


@pytest.mark.parametrize("how", ["failed", "lost", "given_back"])
def test_a_decided_attempt_is_not_taken_for_the_next_one(how: str) -> None:
    """Its report is repeated with the next hello, because the acknowledgement was lost with the stream."""

    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent(credit=1)
        [run_id] = await client.submit(retry={"max_retries": 1})
        assert await assigned(it, agent) == [run_id]
        epoch = agent.assigned[run_id]

        def say(one: Agent) -> None:
            if how == "failed":
                one.report([run_id], epoch=epoch, kind=ReportKind.FAILED)
            elif how == "lost":
                one.send(report_number=1, lost=[ap.LostRun(key=agent.key(run_id))])
            else:
                one.send(report_number=1, given_back=[agent.key(run_id)])

        agent.granted -= 1  # so that nothing is assigned to it meanwhile
        say(agent)
        await it.settle()
        counted = it.runs[run_id].attempt, it.runs[run_id].infra_retries
        again = back(it, agent, [run_id], credit=0)
        assert [key.run_id for key in again.welcome.drop] == [run_id]
        again.granted -= 1
        say(again)
        await it.settle()
        assert (it.runs[run_id].attempt, it.runs[run_id].infra_retries) == counted
        other = it.agent("other")
        assert await assigned(it, other) == [run_id]
        other.report([run_id])
        await it.settle()
        assert client.state_of(run_id) == S.COMPLETED

    play(scenario)


def test_a_second_process_under_the_name_of_a_live_agent_waits_and_then_has_to_stop() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        ids = await client.submit(3)
        assert await assigned(it, agent) == ids
        twin = b"t" * 16
        with pytest.raises(AgentExists, match="turns out to be gone") as raised:
            it.agent(session_id=twin)
        assert raised.value.retry_after > 0
        await it.advance(5)
        agent.heartbeat()
        with pytest.raises(AgentExists, match="another name") as raised:
            it.agent(session_id=twin)
        assert not raised.value.retry_after
        assert agent.closed is None
        assert set(agent.agent.held) == set(ids)
        assert [infra_retries(it, run_id) for run_id in ids] == [0, 0, 0]

    play(scenario)


def test_the_successor_of_an_agent_waits_until_that_has_drained() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit()
        await assigned(it, agent)
        agent.send(draining=True)
        for _ in range(3):
            await it.advance(5)
            agent.heartbeat()
            with pytest.raises(AgentExists, match="finished its runs") as raised:
                it.agent(session_id=b"n" * 16)
            assert raised.value.retry_after > 0
        agent.report([run_id])
        await it.settle()
        agent.disconnect()
        it.agent(session_id=b"n" * 16)
        assert client.state_of(run_id) == S.COMPLETED

    play(scenario)


def test_the_successor_of_an_agent_whose_machine_went_down_waits_for_its_lease() -> None:
    async def scenario(it: World) -> None:
        client, dark = it.client(), it.agent()
        [run_id] = await client.submit()
        await assigned(it, dark)
        for _ in range(4):
            with pytest.raises(AgentExists) as raised:
                it.agent(session_id=b"n" * 16)
            assert raised.value.retry_after > 0, "nobody knows whether it is alive"
            await it.advance_slowly(7)
        await it.advance_slowly(10)
        new = it.agent(session_id=b"n" * 16)
        assert await assigned(it, new) == [run_id]

    play(scenario)


@pytest.mark.parametrize("asked_before", [True, False])
def test_time_in_which_the_owner_stood_still_is_no_sign_of_life(asked_before: bool) -> None:
    def successor(it: World) -> None:
        with pytest.raises(AgentExists) as raised:
            it.agent(session_id=b"n" * 16)
        assert raised.value.retry_after > 0, "nobody has said anything since"

    async def scenario(it: World) -> None:
        agent = it.agent()
        await it.advance(2)
        agent.heartbeat()
        if asked_before:
            successor(it)
        await it.advance(3600)  # in one step: this process was stopped
        successor(it)

    play(scenario)


def test_an_older_stream_that_arrives_late_is_refused() -> None:
    async def scenario(it: World) -> None:
        agent, client = it.agent(stream_number=2), it.client(stream_number=2)
        with pytest.raises(StreamReplaced):
            it.agent(session_id=agent.session_id, stream_number=1)
        with pytest.raises(StreamReplaced):
            it.client(client.session.session_id, stream_number=1)
        assert (agent.closed, client.closed) == (None, None)
        it.agent(session_id=agent.session_id, stream_number=3)
        it.client(client.session.session_id, stream_number=3)
        assert isinstance(agent.closed, StreamReplaced)
        assert isinstance(client.closed, StreamReplaced), "its process goes on with the newer one"
        assert (len(it.owner.agents), len(it.owner.sessions)) == (1, 1)

    play(scenario)


def test_what_an_earlier_owner_assigned_stays_recorded_until_its_agent_had_time_to_report(
    tmp_path: Path,
) -> None:
    """An agent that comes back without a run may be about to report it; another kill must not forget that."""
    assigned_before: dict[bytes, int] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent("a")
        await client.submit(cache_keys=["key"])
        await assigned(it, agent)
        assigned_before.update(agent.assigned)
        await it.settle()

    async def after(it: World) -> None:
        it.agent("a", credit=0)  # it restates nothing
        client, other = it.client(), it.agent("b", chunk=1)
        for _ in range(2 * FEW_DISPATCHES):
            [run_id] = await client.submit()
            await assigned(it, other)
            other.report([run_id])
            await it.settle()
        recorded = read_dispatches(await it.ask(it.store.dispatches), {})
        assert set(assigned_before.values()) <= {epoch for epoch, _ in recorded.values()}
        for _ in range(3):
            await it.advance(RESTATE_SECONDS)
        for _ in range(2 * FEW_DISPATCHES):
            [run_id] = await client.submit()
            await assigned(it, other)
            other.report([run_id])
            await it.settle()
        recorded = read_dispatches(await it.ask(it.store.dispatches), {})
        assert not set(assigned_before.values()).intersection(epoch for epoch, _ in recorded.values())

    kill_and_restart(tmp_path, before, after)
