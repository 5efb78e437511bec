"""Runs of async tasks wait for the room that agents have for them, not for slots, and are told so."""

from collections.abc import Callable

from support.explained import Asker
from support.owner_harness import Agent, World, assigned

from taskyard_api.v1 import agent_service_pb2 as ap
from taskyard_contract.states import WaitReason as W

Ask = Callable[..., None]


def grant(agent: Agent, slots: int, coroutines: int, **fields: bool) -> None:
    agent.send(
        credit=ap.Credit(
            granted_total=slots,
            chunk_size=100,
            coroutines_granted_total=coroutines,
            coroutines_chunk_size=100,
            **fields,
        )
    )


async def begin(it: World, agent: Agent) -> list[bytes]:
    """Let an agent begin what it has been assigned."""
    ids = await assigned(it, agent)
    agent.send(started=[ap.StartedRun(key=agent.key(run_id)) for run_id in ids])
    await it.settle()
    return ids


def test_all_room_for_them_is_taken_while_slots_are_free(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        agent, greedy = it.agent(credit=2, coroutines=2), it.client()
        grant(agent, 2, 2)
        flow = await greedy.start_flow()
        await greedy.submit(12, flow=flow, coroutine=True)
        assert len(await begin(it, agent)) == 2
        [run_id] = await it.client().submit(name="quick", coroutine=True)
        await it.settle()
        text = "all room for async tasks is taken by 2 runs of flow 'flow-0'"
        await asker.wait(run_id, W.SLOTS_TAKEN, text)
        turns = (await asker.waits(run_id))[1]
        assert turns.message == "it takes turns with 10 runs of flow 'flow-0'"

    ask(scenario)


def test_a_run_that_needs_a_slot_is_not_behind_them(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        agent, greedy = it.agent(credit=1, coroutines=2), it.client()
        grant(agent, 1, 2)
        await greedy.submit(12, name="shared", coroutine=True)
        await greedy.submit(1, name="plain")
        assert len(await begin(it, agent)) == 3
        [run_id] = await it.client().submit(name="quick")
        await it.settle()
        text = "it is the next in queue 'default', and all slots for it are taken by 1 run of program 'test'"
        await asker.wait(run_id, W.SLOTS_TAKEN, text)

    ask(scenario)


def test_an_agent_that_wants_only_nested_ones_still_has_slots_for_others(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        agent, client = it.agent(credit=1, coroutines=2), it.client()
        grant(agent, 0, 9, coroutines_nested_only=True)
        [shared] = await client.submit(name="shared", coroutine=True)
        [plain] = await client.submit(name="plain")
        await it.settle()
        agent.receive()
        await asker.wait(
            shared,
            W.AGENT_NESTED_ONLY,
            "agent 'a' starts only runs that others wait for: many wait there for runs of their own",
        )
        assert W((await asker.waits(plain))[0].reason) == W.SLOTS_TAKEN

    ask(scenario)


def test_one_in_hand_has_room_beside_those_that_have_the_slots(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        agent, client = it.agent(credit=5, coroutines=2), it.client()
        grant(agent, 5, 2)
        await client.submit(5, name="plain")
        [run_id] = await client.submit(1, name="shared", coroutine=True)
        await assigned(it, agent)
        text = "agent 'a' has it and room for it, and has not said that it has started"
        await asker.wait(run_id, W.AGENT_HAS_IT, text)
        grant(agent, 5, 4)
        ids = await client.submit(3, name="more", coroutine=True)
        await assigned(it, agent)
        text = "agent 'a' has it and starts it when there is room for async tasks"
        await asker.wait(ids[0], W.AGENT_HAS_IT, text)

    ask(scenario)


def test_where_they_take_slots_they_are_told_of_slots(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        agent, client = it.agent(credit=1), it.client()
        await client.submit(3, coroutine=True)
        await begin(it, agent)
        [run_id] = await it.client().submit(name="quick", coroutine=True)
        await it.settle()
        text = "all slots for it are taken by 1 run of program 'test'"
        await asker.wait(run_id, W.SLOTS_TAKEN, text)

    ask(scenario)


def test_an_agent_that_has_enough_of_them_in_its_slots_says_so(ask: Ask) -> None:
    async def scenario(it: World, asker: Asker) -> None:
        agent, client = it.agent(credit=0, coroutines=2), it.client()
        agent.send(
            credit=ap.Credit(
                coroutines_granted_total=9,
                coroutines_chunk_size=9,
                coroutines_nested_only=True,
                coroutines_nested_only_shares=[client.session.share],
            )
        )
        [run_id] = await client.submit(coroutine=True)
        await it.settle()
        text = "agent 'a' executes async tasks of its program one by one, in slots, and has enough of them"
        await asker.wait(run_id, W.AGENT_NESTED_ONLY, text)

    ask(scenario)
