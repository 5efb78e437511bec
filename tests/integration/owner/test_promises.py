"""What is said to others is durable, and whatever is durable is said without anybody asking for it."""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support.owner_harness import Agent, Client, World, assigned, play, world

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.errors import NotOwner, StorageUnavailable
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import FlowEvent, ReportKind, RunState
from taskyard_controlplane.owner.journal import committer

S = RunState


async def turn() -> None:
    """Let the loop run, without asking the owner to write anything."""
    for _ in range(30):
        await asyncio.sleep(0)


class Silence:
    """A database that takes no commits until it is over."""

    def __init__(self, it: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(committer, "RETRY_DELAYS", (0.0,))
        self._store: Any = it.store
        self._commit = it.store.commit
        self._store.commit = self._refuse

    def _refuse(self, batch: Any) -> Any:
        raise StorageUnavailable("it does not answer")

    def over(self) -> None:
        self._store.commit = self._commit


def test_a_submission_is_acknowledged_after_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(it: World) -> None:
        client, silence = it.client(), Silence(it, monkeypatch)
        await client.submit()
        await turn()
        client.receive()
        assert client.acknowledged == 0
        silence.over()
        await it.settle()
        client.receive()
        assert client.acknowledged == 1

    play(scenario)


def test_a_report_is_acknowledged_after_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit()
        await assigned(it, agent)
        silence = Silence(it, monkeypatch)
        agent.report([run_id])
        await turn()
        agent.receive()
        assert (agent.acknowledged, client.state_of(run_id)) == (0, None)
        assert it.owner.stalled
        silence.over()
        await it.settle()
        agent.receive()
        assert (agent.acknowledged, client.state_of(run_id)) == (1, S.COMPLETED)
        assert not it.owner.stalled

    play(scenario)


def test_a_flow_report_is_decided_after_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        flow = await client.start_flow()
        client.receive()
        silence, before = Silence(it, monkeypatch), len(client.decisions)
        await client.send(flow_reports=[sp.FlowReport(run_id=flow, event=int(FlowEvent.SUCCEEDED))])  # type: ignore[arg-type]
        await turn()
        client.receive()
        assert len(client.decisions) == before
        silence.over()
        await it.settle()
        client.receive()
        assert client.decisions[-1].state == S.COMPLETED

    play(scenario)


def test_a_cancellation_returns_after_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit()
        await assigned(it, agent)
        silence = Silence(it, monkeypatch)
        cancelling = asyncio.ensure_future(it.owner.cancel(run_id))
        await turn()
        agent.receive()
        assert not cancelling.done()
        assert agent.cancels == []
        silence.over()
        assert await cancelling == S.CANCELLING
        agent.receive()
        assert agent.cancels == [run_id]

    play(scenario)


def test_a_run_waits_for_its_own_commit_though_its_upstream_ended_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [upstream] = await client.submit()
        await assigned(it, agent)
        agent.report([upstream])
        await it.settle()
        silence = Silence(it, monkeypatch)
        [downstream] = await client.submit(upstream=[(0, upstream)])
        await turn()
        assert agent.receive() == []
        silence.over()
        assert await assigned(it, agent) == [downstream]

    play(scenario)


async def _success(it: World, client: Client, agent: Agent, run_id: bytes) -> None:
    agent.report([run_id])


async def _stale(it: World, client: Client, agent: Agent, run_id: bytes) -> None:
    agent.report([run_id], epoch=7)


async def _failure(it: World, client: Client, agent: Agent, run_id: bytes) -> None:
    agent.report([run_id], kind=ReportKind.FAILED)


async def _loss(it: World, client: Client, agent: Agent, run_id: bytes) -> None:
    agent.send(lost=[ap.LostRun(key=agent.key(run_id))])


async def _refused_group(it: World, client: Client, agent: Agent, run_id: bytes) -> None:
    await client.submit(flow=new_id())


async def _duplicate_flow_report(it: World, client: Client, agent: Agent, run_id: bytes) -> None:
    flow = await client.start_flow()
    await client.send(flow_reports=[sp.FlowReport(run_id=flow, event=int(FlowEvent.STARTED))])  # type: ignore[arg-type]


async def _key(it: World, client: Client, agent: Agent, run_id: bytes) -> None:
    agent.report([run_id], kind=ReportKind.CACHE_KEY, cache_key="k")


async def _logs(it: World, client: Client, agent: Agent, run_id: bytes) -> None:
    agent.send(
        logs=sp.LogBatch(
            run_ids=[run_id], at_us=[1], levels=[20], loggers=["l"], messages=["m"], run_names=["n"]
        )
    )


Action = Callable[[World, Client, Agent, bytes], Coroutine[Any, Any, None]]


@pytest.mark.parametrize(
    "action", [_success, _stale, _failure, _loss, _refused_group, _duplicate_flow_report, _key, _logs]
)
def test_nothing_waits_for_somebody_else_to_write(action: Action) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit(retry={"max_retries": 1, "delays_ms": [1000]})
        await assigned(it, agent)
        await action(it, client, agent, run_id)
        await turn()
        assert it.shard.committer.idle

    play(scenario)


def test_a_new_owner_goes_on_by_itself(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/yard.db"

    async def main() -> None:
        async with world(url) as first:
            client = first.client()
            ids = await client.submit(2)
        second = World(url)
        await second.owner.start()
        agent = second.agent()
        await turn()
        assert agent.receive() == ids
        await second.owner.stop()

    asyncio.run(asyncio.wait_for(main(), 20))


def test_peers_are_woken_for_every_acknowledgement() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        woken: set[str] = set()
        client.session.wake = lambda: woken.add("client")
        agent.agent.wake = lambda: woken.add("agent")
        for round_ in range(1, 4):
            [run_id] = await client.submit()
            await it.advance(0.1)
            assert woken == {"client", "agent"}
            agent.receive()
            client.receive()
            assert client.acknowledged == round_
            woken.clear()
            agent.report([run_id], epoch=7)  # stale: nothing but the acknowledgement is to be sent
            await it.advance(0.1)
            assert woken == {"agent"}
            agent.receive()
            assert agent.acknowledged == 2 * round_ - 1
            agent.report([run_id])
            await it.advance(0.1)
            woken.clear()

    play(scenario)


def test_a_heartbeat_is_answered() -> None:
    async def scenario(it: World) -> None:
        agent, woken = it.agent(), list[int]()
        agent.agent.wake = lambda: woken.append(1)
        agent.send(heartbeat=7)
        assert woken
        frame = agent.agent.next_frame()
        assert frame is not None
        assert frame.heartbeat == 7

    play(scenario)


def test_an_owner_that_lost_the_database_leaves_nobody_waiting() -> None:
    async def main() -> None:
        it = World("sqlite://")
        await it.owner.start()
        await it.settle()
        [run_id] = await it.client().submit()
        await it.settle()
        store: Any = it.store

        def taken_over(batch: Any) -> Any:
            raise NotOwner("another one took over")

        store.commit = taken_over
        cancelling = asyncio.ensure_future(it.owner.cancel(run_id))
        await asyncio.sleep(0)
        reading = it.ask(lambda: 1)
        outcomes = await asyncio.gather(cancelling, reading, return_exceptions=True)
        assert isinstance(outcomes[0], NotOwner)
        for late in (it.shard.committer.durable(), it.ask(lambda: 1)):
            with pytest.raises(NotOwner):
                await late
        assert [type(error) for error in it.failed] == [NotOwner]
        it.shard.timers.stop()
        await it.shard.committer.close()

    asyncio.run(asyncio.wait_for(main(), 10))


def test_an_owner_that_stops_while_the_database_is_silent_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        it = World("sqlite://")
        await it.owner.start()
        await it.settle()
        client, _ = it.client(), Silence(it, monkeypatch)
        await client.submit()
        await turn()
        assert it.owner.stalled
        await it.owner.stop()
        commits = it.owner.metrics.commit_failures
        await turn()
        client.receive()
        assert (it.failed, client.acknowledged) == ([], 0)
        assert it.owner.metrics.commit_failures == commits

    asyncio.run(asyncio.wait_for(main(), 10))


def test_a_dispatch_is_recorded_though_nothing_else_is() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        for count in (1, 2):
            await client.submit()
            await turn()
            agent.receive()
            async with asyncio.timeout(5):
                while len(await it.ask(it.store.dispatches)) < count:
                    pass  # looking writes nothing: the record goes alone, after the committer's own delay

    play(scenario)


def test_look_ups_and_commits_take_turns() -> None:
    async def scenario(it: World) -> None:
        writer, order = it.shard.committer, list[str]()

        def again() -> None:
            order.append("commit")
            if len(order) < 9:
                writer.open.then.append(again)
                writer.touch()

        writer.open.then.append(again)
        await asyncio.gather(*[writer.run(lambda: order.append("read")) for _ in range(3)])
        assert all(one != next_ for one, next_ in pairwise(order[:6]))

    play(scenario)
