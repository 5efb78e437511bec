"""Runs that end while the database is asked for others: whoever asks for them hears of them all the same."""

from support.owner_harness import LEASES, World, assigned, play

from taskyard_contract.id_factory import new_ids
from taskyard_contract.states import RunState


def test_a_run_that_ends_while_its_session_comes_back_after_the_lease() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit()
        await assigned(it, agent)
        client.disconnect()
        for _ in range(round(1.2 * LEASES.session_lease)):
            agent.heartbeat()
            await it.advance(1.0)
        again = it.client(client.session.session_id)
        assert again.session is not client.session
        await it.ask(lambda: None)  # so that a commit comes before the next look-up
        agent.report([run_id])
        await again.submit(run_ids=[run_id, *new_ids(1)], resend=True)
        await it.settle()
        assert again.state_of(run_id) == RunState.COMPLETED

    play(scenario)
