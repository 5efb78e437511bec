"""What the owner has put off: by name, and not longer than there is somebody to do it for."""

from pathlib import Path

from support.owner_harness import World, assigned, kill_and_restart, play

from taskyard_contract.states import ReportKind, RunState

S = RunState
LATER = {"max_retries": 2, "delays_ms": [5_000]}


def retries(it: World) -> list[str]:
    return [name for name in it.shard.timers.pending() if name.startswith("retry")]


def test_a_retry_is_known_by_the_name_of_its_run() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit(name="flaky", retry=LATER)
        await assigned(it, agent)
        assert retries(it) == []
        agent.report([run_id], kind=ReportKind.FAILED)
        await it.settle()
        assert retries(it) == ["retry of 'flaky-0'"]
        await it.advance(5)
        assert retries(it) == []
        assert await assigned(it, agent) == [run_id]

    play(scenario)


def test_nothing_is_put_off_for_a_run_that_was_cancelled() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        ids = await client.submit(2, retry=LATER)
        await assigned(it, agent)
        agent.report(ids, kind=ReportKind.FAILED)
        await it.settle()
        assert len(retries(it)) == 2
        await client.send(cancel=[ids[0]])
        await it.settle()
        assert client.state_of(ids[0]) == S.CANCELLED
        assert len(retries(it)) == 1
        await it.advance(5)
        assert await assigned(it, agent) == [ids[1]]

    play(scenario)


def test_nothing_is_put_off_for_runs_of_a_session_that_ended() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        ids = await client.submit(3, retry=LATER)
        await assigned(it, agent)
        agent.report(ids, kind=ReportKind.FAILED)
        await it.settle()
        await client.send(goodbye=True)
        await it.settle()
        assert retries(it) == []

    play(scenario)


def test_a_retry_that_was_pending_is_pending_after_a_restart(tmp_path: Path) -> None:
    found: dict[str, bytes] = {}

    async def before(it: World) -> None:
        client, agent = it.client(), it.agent()
        [found["run"]] = await client.submit(name="flaky", retry=LATER)
        await assigned(it, agent)
        agent.report([found["run"]], kind=ReportKind.FAILED)
        await it.settle()

    async def after(it: World) -> None:
        assert retries(it) == ["retry of 'flaky-0'"]
        await it.advance(5)
        assert await assigned(it, it.agent("b")) == [found["run"]]

    kill_and_restart(tmp_path, before, after)


def test_runs_that_an_agent_did_not_restate_are_given_up_when_it_goes() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit()
        await assigned(it, agent)
        agent.disconnect()
        again = it.agent(session_id=agent.session_id)
        assert [name for name in it.shard.timers.pending() if "restating" in name] == [
            "restating of agent 'a'",
            "restating after a restart",
        ]
        again.disconnect()
        third = it.agent()  # another process of the same agent: the one before is gone for good
        assert await assigned(it, third) == [run_id]
        assert "restating of agent 'a'" not in it.shard.timers.pending()

    play(scenario)
