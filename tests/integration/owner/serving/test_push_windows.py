"""What a client does not read is not kept in memory, and reaches it all the same."""

import asyncio

from support.owner_harness import Client, World, assigned, play

from taskyard_api.v1 import failure_pb2 as fp
from taskyard_api.v1 import session_service_pb2 as sp
from taskyard_contract.errors import StorageUnavailable
from taskyard_controlplane.domain.memory import MemoryLimits
from taskyard_controlplane.storage.interface import StoredPayloads

SMALL = MemoryLimits(pushed_results=5_000, pushed_logs=2_500)


async def everything(it: World, client: Client, count: int) -> None:
    """Read until the client has heard of so many runs."""
    async with asyncio.timeout(15):
        while len(client.results) + len(client.outcomes) < count:
            client.receive()
            await it.settle()


def unread(it: World) -> int:
    """Return how many bytes wait for clients, of results and of log records."""
    windows = it.shard.roster.windows
    most: int = windows.limits.pushed
    return 2 * most - windows.results.left - windows.logs.left


def test_results_of_a_client_that_does_not_read_stay_in_the_database_until_it_does() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        ids = await client.submit(60)
        await assigned(it, agent)
        agent.report(ids[:30], value=b"r" * 1_000)
        agent.report(ids[30:40], kind=2, failure=fp.Failure(type="ValueError", message="m" * 1_000))
        agent.report(ids[40:], value=b"s" * 1_000)
        await it.settle()
        assert 0 < unread(it) <= 300_000  # a piece of the common window, not sixty results
        assert len(client.session._result_data) < 10
        await everything(it, client, len(ids))
        assert {client.results[run_id] for run_id in ids[:30]} == {b"r" * 1_000}
        assert {client.results[run_id] for run_id in ids[40:]} == {b"s" * 1_000}
        assert {client.outcomes[run_id].failure.message for run_id in ids[30:40]} == {"m" * 1_000}
        assert unread(it) == 0

    play(scenario, memory=SMALL)


def test_what_is_owed_survives_a_database_that_does_not_answer() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        ids = await client.submit(20)
        await assigned(it, agent)
        agent.report(ids, value=b"r" * 1_000)
        await it.settle()
        read = it.store.payloads

        def unavailable(seqs: object, run_ids: object) -> StoredPayloads:
            raise StorageUnavailable("away")

        it.store.payloads = unavailable  # type: ignore[method-assign]
        client.receive()
        await it.settle()
        it.store.payloads = read  # type: ignore[method-assign]
        await it.advance(2.0)
        await everything(it, client, len(ids))

    play(scenario, memory=SMALL)


def test_unread_results_are_given_up_with_the_stream_and_told_again_on_the_next() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        ids = await client.submit(20)
        await assigned(it, agent)
        agent.report(ids, value=b"r" * 1_000)
        await it.settle()
        client.disconnect()
        assert unread(it) == 0
        again = it.client(client.session.session_id)
        await again.send(subscribe=ids)
        await it.settle()
        assert len(client.session._result_data) < 10
        await everything(it, again, len(ids))

    play(scenario, memory=SMALL)


def test_a_flood_of_log_records_reaches_the_database_and_costs_the_client_its_window() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit()
        await assigned(it, agent)
        logs = sp.LogBatch(
            run_ids=[run_id] * 10, at_us=range(10), levels=[20] * 10, loggers=["l"] * 10,
            messages=["m" * 1_000] * 10, run_names=["n"] * 10,
        )  # fmt: skip
        agent.send(logs=logs)
        await it.settle()
        frames = []
        while (frame := client.session.next_frame()) is not None:
            client.session.written()
            frames.append(frame)
        sent = sum(len(frame.logs.messages) for frame in frames)
        assert sent == 2
        assert sum(frame.dropped_logs for frame in frames) == 8
        assert unread(it) == 0

    play(scenario, memory=SMALL)
