"""How long silence is tolerated, and when it proves nothing."""

from support.owner_harness import LEASES, World, assigned, play

from taskyard_contract.errors import StorageUnavailable
from taskyard_contract.states import RunState


def test_silence_counts_from_the_last_sign_of_life() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit()
        await assigned(it, agent)
        await it.advance_slowly(LEASES.agent_lease - 1)
        agent.heartbeat()
        await it.advance_slowly(LEASES.agent_lease)
        assert run_id in agent.agent.held
        await it.advance_slowly(1 + LEASES.agent_lease / 10)
        assert not agent.agent.held
        assert it.owner.agents == []

    play(scenario)


def test_a_session_is_lost_as_long_after_its_stream_as_its_lease_says() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        await it.advance_slowly(2 * LEASES.session_lease)
        [run_id] = await client.submit(queue="nobody")
        client.disconnect()
        await it.advance_slowly(LEASES.session_lease)
        assert it.runs[run_id].state == RunState.READY
        await it.advance_slowly(1 + LEASES.session_lease / 10)
        assert run_id not in it.runs
        assert it.owner.sessions == []

    play(scenario)


def test_a_stalled_owner_does_not_count_the_time_it_was_away() -> None:
    async def scenario(it: World) -> None:
        agent, client = it.agent(), it.client()
        client.disconnect()
        for _ in range(3):
            await it.advance(3600)  # in one step: this process was stopped
            await it.advance_slowly(LEASES.agent_lease / 4)
        assert (len(it.owner.agents), len(it.owner.sessions)) == (1, 1)
        await it.advance_slowly(LEASES.agent_lease)
        assert agent.closed is not None
        assert (it.owner.agents, it.owner.sessions) == ([], []), "but goes on to count afterwards"

    play(scenario)


def test_nobody_is_lost_while_the_database_takes_no_commits() -> None:
    async def scenario(it: World) -> None:
        agent, client = it.agent(), it.client()
        client.disconnect()
        it.shard.committer.stalled_since = it.clock.monotonic()
        for _ in range(round(3 * LEASES.agent_lease)):
            it.clock.seconds += 1
            it.shard.timers.fire()
        assert (len(it.owner.agents), len(it.owner.sessions)) == (1, 1)
        it.shard.committer.stalled_since = None
        await it.advance_slowly(LEASES.agent_lease - 4)
        assert agent.closed is None
        await it.advance_slowly(8)
        assert (it.owner.agents, it.owner.sessions) == ([], [])

    play(scenario)


def test_all_that_were_silent_for_too_long_are_lost_together() -> None:
    async def scenario(it: World) -> None:
        agents = [it.agent(f"agent-{number}") for number in range(3)]
        clients = [it.client() for _ in range(3)]
        for client in clients:
            client.disconnect()
        await it.advance_slowly(2 * LEASES.agent_lease)
        assert all(agent.closed is not None for agent in agents)
        assert (it.owner.agents, it.owner.sessions) == ([], [])

    play(scenario)


def test_upkeep_goes_on_after_it_failed() -> None:
    async def scenario(it: World) -> None:
        calls = 0

        def fail() -> None:
            nonlocal calls
            calls += 1
            raise StorageUnavailable("no answer", retry_after=1.0)

        it.store.maintain = fail  # type: ignore[method-assign]
        await it.advance_slowly(10)
        assert calls == 3

    play(scenario)
