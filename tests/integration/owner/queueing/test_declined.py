"""Runs that come back unstarted: to whom they go, and when."""

from support.owner_harness import Agent, World, assigned, play

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_contract.states import RunState as S


def give_back(agent: Agent, ids: list[bytes]) -> None:
    agent.granted += len(ids)
    agent.send(
        given_back=[agent.key(run_id) for run_id in ids],
        credit=ap.Credit(granted_total=agent.granted, chunk_size=100),
    )


def test_a_run_that_was_given_back_goes_to_somebody_else_first() -> None:
    async def scenario(it: World) -> None:
        client, picky = it.client(), it.agent("picky")
        ids = await client.submit(3)
        assert await assigned(it, picky) == ids
        other = it.agent("other")
        give_back(picky, ids)
        assert await assigned(it, picky) == []
        assert other.receive() == ids

    play(scenario)


def test_the_only_agent_gets_what_it_gave_back_after_a_pause_that_grows() -> None:
    async def scenario(it: World) -> None:
        client, picky = it.client(), it.agent("picky")
        [run_id] = await client.submit()
        assert await assigned(it, picky) == [run_id]
        for pause in (0.1, 0.2, 0.4):
            give_back(picky, [run_id])
            await it.advance(pause - 0.05)
            assert picky.receive() == []
            await it.advance(0.1)
            assert picky.receive() == [run_id]
        picky.report([run_id])
        await it.settle()
        assert client.state_of(run_id) == S.COMPLETED
        assert picky.agent.declines == 0

    play(scenario)


def test_other_work_does_not_wait_for_the_pause() -> None:
    async def scenario(it: World) -> None:
        client, picky = it.client(), it.agent("picky")
        ids = await client.submit(2)
        await assigned(it, picky)
        give_back(picky, ids)
        await it.settle()
        [fresh] = await client.submit()
        assert await assigned(it, picky) == [fresh]

    play(scenario)


def test_two_agents_do_not_hand_a_run_to_each_other_without_a_pause() -> None:
    async def scenario(it: World) -> None:
        client, agents = it.client(), [it.agent("a"), it.agent("b")]
        await client.submit()
        await it.settle()
        times = 0
        for _ in range(50):
            for agent in agents:
                for each in agent.receive():
                    times += 1
                    give_back(agent, [each])
            await it.settle()
        assert times == 2, "once each"
        await it.advance(1)
        assert sum(len(agent.receive()) for agent in agents) == 1

    play(scenario)


def test_what_a_leaving_agent_declined_is_anybodys() -> None:
    async def scenario(it: World) -> None:
        client, leaving = it.client(), it.agent("leaving")
        ids = await client.submit(2)
        await assigned(it, leaving)
        leaving.send(draining=True)
        give_back(leaving, ids)
        await it.settle()
        leaving.disconnect()
        other = it.agent("other")
        assert await assigned(it, other) == ids

    play(scenario)


def test_a_declined_run_that_is_cancelled_starts_nowhere() -> None:
    async def scenario(it: World) -> None:
        client, picky = it.client(), it.agent("picky")
        kept, gone = await client.submit(2)
        await assigned(it, picky)
        give_back(picky, [kept, gone])
        await it.settle()
        await it.owner.cancel(gone)
        other = it.agent("other")
        assert await assigned(it, other) == [kept]
        assert client.state_of(gone) == S.CANCELLED

    play(scenario)
