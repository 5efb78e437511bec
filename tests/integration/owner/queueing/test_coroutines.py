"""Coroutines are dispatched by credit of their own, to agents that have room for them beside their slots."""

import asyncio
from collections.abc import Awaitable, Callable

from support.owner_harness import Agent, Client, World, world

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_contract.capabilities import COROUTINES


def play(scenario: Callable[[World, Client], Awaitable[None]]) -> None:
    async def main() -> None:
        async with world() as it:
            await scenario(it, it.client())

    asyncio.run(main())


def grant(agent: Agent, slots: int, coroutines: int, *, chunk: int = 100, nested_only: bool = False) -> None:
    agent.send(
        credit=ap.Credit(
            granted_total=slots,
            chunk_size=100,
            coroutines_granted_total=coroutines,
            coroutines_chunk_size=chunk,
            coroutines_nested_only=nested_only,
        )
    )


def test_neither_kind_of_run_takes_the_credit_of_the_other() -> None:
    async def scenario(it: World, client: Client) -> None:
        agent = it.agent(credit=2, coroutines=200)
        assert COROUTINES in agent.welcome.capabilities
        plain = await client.submit(5)
        shared = await client.submit(5, coroutine=True)
        await it.settle()
        assert sorted(agent.receive()) == sorted(plain[:2]), "it has granted nothing for coroutines"
        grant(agent, 2, 3)
        await it.settle()
        assert sorted(agent.receive()) == sorted(shared[:3])
        grant(agent, 3, 3)
        await it.settle()
        assert agent.receive() == [plain[2]]

    play(scenario)


def test_coroutines_take_slots_of_an_agent_that_does_not_know_them_apart() -> None:
    async def scenario(it: World, client: Client) -> None:
        agent = it.agent(credit=2)
        shared = await client.submit(3, coroutine=True)
        await it.settle()
        assert sorted(agent.receive()) == sorted(shared[:2])

    play(scenario)


def test_agents_of_both_kinds_serve_one_queue() -> None:
    async def scenario(it: World, client: Client) -> None:
        former, present = it.agent("former", credit=1), it.agent("present", credit=1, coroutines=10)
        grant(present, 1, 10)
        shared = await client.submit(5, coroutine=True)
        await it.settle()
        assert len(former.receive()) == 1
        assert len(present.receive()) == len(shared) - 1

    play(scenario)


def test_a_chunk_of_coroutines_is_as_large_as_its_own_credit_says() -> None:
    async def scenario(it: World, client: Client) -> None:
        agent = it.agent(credit=5, coroutines=10)
        await client.submit(6, coroutine=True)
        grant(agent, 5, 6, chunk=4)
        await it.settle()
        agent.receive()
        assert [len(chunk.run_ids) // 16 for chunk in agent.chunks] == [4, 2]

    play(scenario)


def test_when_many_coroutines_wait_only_what_they_wait_for_is_sent() -> None:
    async def scenario(it: World, client: Client) -> None:
        agent = it.agent(credit=1, coroutines=10)
        grant(agent, 1, 2)
        [caller] = await client.submit(1, coroutine=True)
        await it.settle()
        assert agent.receive() == [caller]
        grant(agent, 1, 5, nested_only=True)
        await client.submit(1, coroutine=True)
        inner = it.client(caller_run_id=caller)
        [nested] = await inner.submit(1, coroutine=True)
        await it.settle()
        assert agent.receive() == [nested]

    play(scenario)


def test_credit_apart_begins_anew_with_each_stream() -> None:
    async def scenario(it: World, client: Client) -> None:
        agent = it.agent(credit=1, coroutines=10)
        grant(agent, 1, 2)
        shared = await client.submit(4, coroutine=True)
        await it.settle()
        first = agent.receive()
        held = [(run_id, agent.assigned[run_id]) for run_id in first]
        again = it.agent(credit=1, coroutines=10, session_id=agent.session_id, held=held)
        grant(again, 1, 1)
        await it.settle()
        assert [*first, *again.receive()] == shared[:3]

    play(scenario)


def test_what_an_agent_gave_back_is_offered_to_others_as_coroutines() -> None:
    async def scenario(it: World, client: Client) -> None:
        agent = it.agent("a", credit=1, coroutines=10)
        grant(agent, 1, 1)
        [shared] = await client.submit(1, coroutine=True)
        await it.settle()
        assert agent.receive() == [shared]
        other = it.agent("b", credit=0, coroutines=10)
        grant(other, 0, 1)
        agent.send(given_back=[ap.RunKey(run_id=shared, epoch=agent.assigned[shared])])
        await it.settle()
        assert other.receive() == [shared]

    play(scenario)


def test_of_sessions_with_enough_coroutines_in_slots_only_nested_ones_are_sent() -> None:
    async def scenario(it: World, client: Client) -> None:
        other, agent = it.client(), it.agent(credit=0, coroutines=10)
        await client.submit(3, coroutine=True)
        [one] = await other.submit(1, coroutine=True)
        await it.settle()
        credit = ap.Credit(
            chunk_size=1,
            coroutines_granted_total=9,
            coroutines_chunk_size=9,
            coroutines_nested_only=True,
            coroutines_nested_only_shares=[client.session.share],
        )
        agent.send(credit=credit)
        await it.settle()
        assert agent.receive() == [one]

    play(scenario)
