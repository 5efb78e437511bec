"""Agents that say what they hold after a break: a run has one holder, and its newest assignment counts."""

from pathlib import Path
from typing import Any

import pytest
from support.owner_harness import Agent, World, assigned, kill_and_restart, play

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_contract.states import ReportKind, RunState

S = RunState


async def dispatch_unrecorded(it: World, found: dict[str, Any], count: int = 1) -> None:
    """Have runs assigned; that they are is on record only with the next commit, which does not come."""
    client, agent = it.client(), it.agent("a")
    ids = await client.submit(count, retry={"max_retries": 1})
    await assigned(it, agent)
    found.update(ids=ids, epochs=dict(agent.assigned), client=client.session.session_id)
    found.update(agent=agent.session_id)


def restated(it: World, found: dict[str, Any], ids: list[bytes], credit: int) -> Agent:
    """The agent, back with some of these runs."""
    it.client(found["client"])
    held = [(run_id, found["epochs"][run_id]) for run_id in ids]
    agent = it.agent("a", credit=credit, session_id=found["agent"], held=held)
    agent.assigned = dict(found["epochs"])
    assert agent.adopted == ids
    return agent


def test_an_adopted_run_is_not_queued_twice(tmp_path: Path) -> None:
    """Its retry meets the entry in the queue that it was adopted from."""
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        await dispatch_unrecorded(it, found)

    async def after(it: World) -> None:
        [run_id] = found["ids"]
        again = restated(it, found, [run_id], credit=0)
        assert it.owner.state_of(run_id).state == S.ASSIGNED
        again.granted = -1  # so that the report brings no credit
        again.report([run_id], kind=ReportKind.FAILED)
        await it.settle()
        again.send(credit=ap.Credit(granted_total=9, chunk_size=9))
        assert await assigned(it, again) == [run_id]

    kill_and_restart(tmp_path, before, after)


def test_an_adopted_run_is_queued_again_when_its_entry_was_passed_over(tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        await dispatch_unrecorded(it, found)

    async def after(it: World) -> None:
        [run_id] = found["ids"]
        again = restated(it, found, [run_id], credit=9)
        assert await assigned(it, again) == []
        again.report([run_id], kind=ReportKind.FAILED)
        assert await assigned(it, again) == [run_id]

    kill_and_restart(tmp_path, before, after)


def test_an_adopted_run_is_passed_over_between_others(tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        await dispatch_unrecorded(it, found, 3)

    async def after(it: World) -> None:
        first, adopted, last = found["ids"]
        again = restated(it, found, [adopted], credit=9)
        assert await assigned(it, again) == [first, last]

    kill_and_restart(tmp_path, before, after)


def test_what_was_given_to_others_when_a_lease_lapsed_is_dropped() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent("a")
        ids = await client.submit(3)
        await assigned(it, agent)
        agent.disconnect()
        await it.advance_slowly(40)
        again = it.agent("a", session_id=agent.session_id, held=list(agent.assigned.items()))
        assert {key.run_id for key in again.welcome.drop} == set(ids)
        assert await assigned(it, again) == ids, "under new epochs"

    play(scenario)


def test_what_a_restarted_owner_did_not_record_is_believed(tmp_path: Path) -> None:
    """The run ended while its agent had no stream, so it is reported, and not restated."""
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent()
        [found["run"]] = await client.submit()
        await assigned(it, agent)  # recorded only with the next commit, which never comes
        found.update(agent=agent, session=client.session.session_id)

    async def after(it: World) -> None:
        client = it.client(found["session"])
        old: Agent = found["agent"]
        agent = it.agent(session_id=old.session_id, credit=0)
        agent.assigned = dict(old.assigned)
        agent.report([found["run"]], epoch=old.assigned[found["run"]])
        await it.settle()
        assert client.state_of(found["run"]) == S.COMPLETED
        assert it.owner.metrics.stale_reports == 0

    kill_and_restart(tmp_path, before, after)


def test_the_later_of_two_restated_assignments_counts(tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent("a")
        [found["run"]] = await client.submit()
        await assigned(it, agent)
        await client.submit()  # the next commit carries the record of the dispatch
        await it.settle()
        found.update(epoch=agent.assigned[found["run"]], session=client.session.session_id)

    async def after(it: World) -> None:
        run_id, epoch = found["run"], found["epoch"]
        client = it.client(found["session"])
        # The run was lost by the first agent and assigned to the second one, which was not recorded.
        first = it.agent("a", credit=0, held=[(run_id, epoch)])
        second = it.agent("b", credit=0, held=[(run_id, epoch + 5)])
        assert [len(one.adopted) for one in (first, second)] == [1, 1]
        assert (list(first.agent.held), list(second.agent.held)) == ([], [run_id])
        first.report([run_id], epoch=epoch)
        await it.settle()
        assert client.state_of(run_id) is None
        second.report([run_id], epoch=epoch + 5)
        await it.settle()
        assert client.state_of(run_id) == S.COMPLETED

    kill_and_restart(tmp_path, before, after)


def test_a_restated_run_that_waits_for_its_retry_is_dropped(tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent()
        [found["run"]] = await client.submit(retry={"max_retries": 1, "delays_ms": [5000]})
        await assigned(it, agent)
        found["epoch"] = agent.assigned[found["run"]]
        agent.report([found["run"]], kind=ReportKind.FAILED)
        await it.settle()

    async def after(it: World) -> None:
        agent = it.agent(credit=1, held=[(found["run"], found["epoch"])])
        assert [key.run_id for key in agent.welcome.drop] == [found["run"]]
        assert not agent.agent.held
        await it.advance_slowly(6)
        assert agent.receive() == [found["run"]]

    kill_and_restart(tmp_path, before, after)


@pytest.mark.parametrize("epoch", [1, 1 << 40])
def test_a_run_restated_under_an_epoch_it_never_had_is_dropped(epoch: int) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent("a")
        [run_id] = await client.submit()
        await assigned(it, agent)
        other = it.agent("b", credit=0, held=[(run_id, epoch)])
        assert [key.epoch for key in other.welcome.drop] == [epoch]
        assert list(agent.agent.held) == [run_id]
        other.report([run_id], epoch=epoch)
        await it.settle()
        assert client.state_of(run_id) is None

    play(scenario)


def test_an_agent_that_drains_keeps_what_it_holds_until_its_lease_lapses() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent("a", credit=1)
        first, second = await client.submit(2)
        assert await assigned(it, agent) == [first]
        agent.send(draining=True)
        agent.send(credit=ap.Credit(granted_total=9, chunk_size=9))
        assert await assigned(it, agent) == []
        agent.disconnect()
        other = it.agent("b")
        assert await assigned(it, other) == [second]
        for _ in range(40):
            other.heartbeat()
            await it.advance(1)
        assert other.receive() == [first]

    play(scenario)


def test_an_agent_that_has_drained_is_forgotten_with_its_stream() -> None:
    async def scenario(it: World) -> None:
        agent = it.agent("a")
        agent.send(draining=True)
        agent.disconnect()
        assert it.owner.agents == []
        assert it.shard.dispatcher.agents == []

    play(scenario)


def test_an_agent_that_drains_may_still_report_what_it_finished_before_a_restart(tmp_path: Path) -> None:
    """Its stream breaks between its hello, in which it holds nothing any more, and the reports behind it."""
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent("a")
        [found["run"]] = await client.submit()
        await assigned(it, agent)
        await client.submit(queue="nobody")  # the next commit carries the record of the dispatch
        await it.settle()
        found.update(session_id=agent.session_id, assigned=agent.assigned)

    async def after(it: World) -> None:
        agent = it.agent("a", session_id=found["session_id"])
        agent.send(draining=True)
        agent.disconnect()
        other = it.agent("b")
        assert await assigned(it, other) == []
        again = it.agent("a", credit=0, session_id=found["session_id"])
        again.assigned = found["assigned"]
        again.report([found["run"]])
        await it.settle()
        assert (await it.history(found["run"]))[-1] == S.COMPLETED
        assert other.receive() == []

    kill_and_restart(tmp_path, before, after)


def test_the_end_of_an_old_stream_leaves_the_new_one_alone() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        other = it.agent(session_id=agent.session_id)
        again = it.client(client.session.session_id)
        assert agent.closed is not None
        assert client.closed is not None
        agent.disconnect()
        client.disconnect()
        [run_id] = await again.submit()
        assert await assigned(it, other) == [run_id]
        other.report([run_id])
        await it.settle()
        assert again.state_of(run_id) == S.COMPLETED

    play(scenario)


def test_an_agent_that_is_silent_on_its_stream_is_told_to_come_back() -> None:
    async def scenario(it: World) -> None:
        agent = it.agent("a")
        await it.advance_slowly(40)
        assert agent.closed is not None
        assert it.owner.agents == []

    play(scenario)


def test_an_agent_that_came_back_often_is_lost_once() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent("a", credit=0)
        for _ in range(3):
            agent = it.agent("a", credit=0, session_id=agent.session_id)
        agent.disconnect()
        await it.advance_slowly(40)
        assert it.shard.dispatcher.agents == []
        await client.submit()
        other = it.agent("b")
        assert len(await assigned(it, other)) == 1

    play(scenario)
