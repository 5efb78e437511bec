"""An owner that is lost as a kill would, and the one that takes over."""

from pathlib import Path
from typing import Any

from support.owner_harness import Agent, Client, World, assigned, kill_and_restart

from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.states import ReportKind, RunState, StateReason

S = RunState


def test_recovery_finishes_what_was_acknowledged(tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent(credit=2)
        flow = await client.start_flow()
        ids = await client.submit(4, flow=flow)
        [downstream] = await client.submit(flow=flow, upstream=[(0, run_id) for run_id in ids])
        await assigned(it, agent)
        agent.report(ids[:1])
        await it.settle()
        agent.receive()
        found.update(client=client, agent=agent, ids=ids, downstream=downstream, flow=flow)

    async def after(it: World) -> None:
        old: Agent = found["agent"]
        ids, downstream = found["ids"], found["downstream"]
        client = it.client(found["client"].session.session_id)
        await client.send(subscribe=[*ids, downstream])
        held = [(run_id, epoch) for run_id, epoch in old.assigned.items() if run_id != ids[0]]
        agent = it.agent(session_id=old.session_id, held=held)
        assert set(agent.adopted) == {run_id for run_id, _ in held}
        agent.assigned.update(old.assigned)
        new = await assigned(it, agent)
        assert set(new) | {run_id for run_id, _ in held} == set(ids[1:])
        agent.report(ids[1:])
        assert await assigned(it, agent) == [downstream]
        assert set(agent.inputs_of(downstream)) == set(ids)
        agent.report([downstream])
        await it.settle()
        assert [client.state_of(run_id) for run_id in [*ids, downstream]] == [S.COMPLETED] * 5
        await client.send(flow_reports=[sp.FlowReport(run_id=found["flow"], event=2)])
        await it.settle()
        client.receive()
        assert client.decisions[-1].state == S.COMPLETED

    kill_and_restart(tmp_path, before, after)


def test_recovery_gives_up_on_agents_that_do_not_come_back(tmp_path: Path) -> None:
    found: dict[str, bytes] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent()
        [found["run"]] = await client.submit()
        await assigned(it, agent)
        await client.submit()  # the next commit carries the record of the dispatch
        await it.settle()
        found["session"] = client.session.session_id

    async def after(it: World) -> None:
        client = it.client(found["session"])
        agent = it.agent("another", credit=9)
        assert found["run"] not in await assigned(it, agent)
        for _ in range(31):
            agent.heartbeat()
            await it.advance(1)
        assert found["run"] in agent.receive() or found["run"] in agent.assigned
        assert client.session.connected

    kill_and_restart(tmp_path, before, after)


def test_recovery_keeps_retry_delays_and_attempts(tmp_path: Path) -> None:
    found: dict[str, bytes] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent()
        [found["run"]] = await client.submit(retry={"max_retries": 1, "delays_ms": [10_000]})
        await assigned(it, agent)
        agent.report([found["run"]], kind=ReportKind.FAILED)
        await it.settle()
        found["session"] = client.session.session_id

    async def after(it: World) -> None:
        it.client(found["session"])
        agent = it.agent()
        assert await assigned(it, agent) == []
        for _ in range(11):
            agent.heartbeat()
            await it.advance(1)
        assert agent.receive() == [found["run"]]
        assert agent.bodies[found["run"]][0].extras[0].attempt == 2

    kill_and_restart(tmp_path, before, after)


def test_a_report_of_an_earlier_generation_counts_until_the_run_is_assigned_anew(tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent()
        [found["run"]] = await client.submit()
        await assigned(it, agent)  # recorded only with the next commit, which never comes
        found.update(agent=agent, session=client.session.session_id)

    async def after(it: World) -> None:
        client: Client = it.client(found["session"])
        old: Agent = found["agent"]
        agent = it.agent(
            session_id=old.session_id, credit=0, held=[(found["run"], old.assigned[found["run"]])]
        )
        agent.assigned = dict(old.assigned)
        await client.send(subscribe=[found["run"]])
        agent.report([found["run"]])
        await it.settle()
        assert client.state_of(found["run"]) == S.COMPLETED

    kill_and_restart(tmp_path, before, after)


def test_an_agent_that_comes_back_empty_handed_gives_its_runs_up_at_once(tmp_path: Path) -> None:
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent()
        [found["run"]] = await client.submit()
        await assigned(it, agent)
        await client.submit(queue="nobody")  # the next commit carries the record of the dispatch
        await it.settle()
        found["session"] = client.session.session_id

    async def after(it: World) -> None:
        it.client(found["session"])
        agent = it.agent()
        assert found["run"] not in await assigned(it, agent)
        await it.advance(3)
        assert agent.receive() == [found["run"]]

    kill_and_restart(tmp_path, before, after)


def test_after_a_restart_a_session_that_comes_back_has_its_name_again(tmp_path: Path) -> None:
    found: dict[str, bytes] = {}

    async def before(it: World) -> None:
        client = it.client()
        found.update(session=client.session.session_id, run=await client.start_flow())

    async def after(it: World) -> None:
        await it.client(found["session"]).send(goodbye=True)
        await it.settle()
        [row] = await it.ask(lambda: it.store.runs_by_id([found["run"]]))
        assert row.outcome is not None
        message = sp.RunOutcome.FromString(row.outcome).message
        assert message == "the process that owned it (test) is gone"

    kill_and_restart(tmp_path, before, after)


def test_after_a_restart_the_sessions_of_workers_keep_no_yard_awake(tmp_path: Path) -> None:
    found: dict[str, bytes] = {}

    async def before(it: World) -> None:
        worker = it.client(caller_run_id=b"c" * 16)
        found.update(session=worker.session.session_id, run=await worker.start_flow())

    async def after(it: World) -> None:
        worker = it.client(found["session"], caller_run_id=b"c" * 16)
        assert not it.owner.idle()
        await worker.send(flow_reports=[sp.FlowReport(run_id=found["run"], event=2)])  # type: ignore[arg-type]
        await it.settle()
        assert worker.session.connected
        assert it.owner.idle()

    kill_and_restart(tmp_path, before, after)


def test_a_key_computed_by_a_worker_is_known_after_a_restart(tmp_path: Path) -> None:
    """Whoever computes it goes on, and whoever waits for it does not compute it as well."""
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent()
        first, second = await client.submit(2)
        await assigned(it, agent)
        agent.report([first, second], kind=ReportKind.CACHE_KEY, cache_key="k")
        assert await assigned(it, agent) == [first]
        await client.submit()  # the next commit carries the record of the dispatch
        agent.receive()
        found.update(client=client, agent=agent, first=first, second=second)

    async def after(it: World) -> None:
        old, first, second = found["agent"], found["first"], found["second"]
        client = it.client(found["client"].session.session_id)
        await client.send(subscribe=[first, second])
        agent = it.agent(session_id=old.session_id, held=[(first, old.assigned[first])])
        assert agent.adopted == [first]
        agent.assigned.update(old.assigned)
        assert second not in await assigned(it, agent)
        agent.report([first])
        await it.settle()
        assert [client.state_of(run_id) for run_id in (first, second)] == [S.COMPLETED] * 2
        assert client.outcomes[second].reason == StateReason.CACHED
        [third] = await client.submit()
        await assigned(it, agent)
        agent.report([third], kind=ReportKind.CACHE_KEY, cache_key="k")
        await it.settle()
        assert client.state_of(third) == S.COMPLETED
        assert client.outcomes[third].reason == StateReason.CACHED

    kill_and_restart(tmp_path, before, after)


def test_a_key_that_was_reported_closes_its_attempt_for_good(tmp_path: Path) -> None:
    """A restart before the decision waits for no agent, and lets one of the runs with the key execute."""
    found: dict[str, Any] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent(credit=2)
        ids = await client.submit(2)
        await assigned(it, agent)
        agent.granted = 0  # so that the report brings no credit, and none of them is assigned again
        agent.report(ids, kind=ReportKind.CACHE_KEY, cache_key="k")
        await it.settle()
        found.update(client=client, agent=agent, ids=ids)

    async def after(it: World) -> None:
        old, ids = found["agent"], found["ids"]
        client = it.client(found["client"].session.session_id)
        await client.send(subscribe=ids)
        held = [(run_id, old.assigned[run_id]) for run_id in ids]
        agent = it.agent(session_id=old.session_id, held=held)
        assert agent.adopted == []
        [leader] = await assigned(it, agent)
        assert agent.bodies[leader][0].extras[0].cache_key_decided
        agent.report([leader])
        await it.settle()
        assert [client.state_of(run_id) for run_id in ids] == [S.COMPLETED] * 2

    kill_and_restart(tmp_path, before, after)
