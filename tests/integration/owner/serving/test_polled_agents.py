"""Agents that poll, without gRPC: credit ends with the poll, nothing is left of one that is over."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from support.owner_harness import World, world

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.errors import (
    AgentExists,
    InvalidRequest,
    StreamReplaced,
    Superseded,
    UnknownSession,
)
from taskyard_controlplane.owner.peers.polled_exchange import MAX_RUNS
from taskyard_controlplane.owner.serving.polled_agents import PolledAgents, check_poll

IDS: dict[str, Any] = {"agent_id": "a", "session_id": b"s" * 16}


def hello(**ids: Any) -> pb.AgentHello:
    return pb.AgentHello(**{**IDS, **ids}, protocol_min=2, protocol_max=2, queues=["default"])


@pytest.mark.parametrize(
    ("fields", "about"),
    [
        ({"agent_id": ""}, "agent id"),
        ({"session_id": b""}, "session id"),
        ({"number": 0}, "number"),
        ({"hello": hello(agent_id="b")}, "hello"),
        ({"hello": hello(session_id=b"t" * 16)}, "hello"),
        ({"max_runs": 1}, "chunk_size"),
    ],
)
def test_a_malformed_poll_is_refused(fields: dict[str, Any], about: str) -> None:
    with pytest.raises(InvalidRequest, match=about):
        check_poll(pb.PollRequest(**{**IDS, "number": 1, **fields}))


@pytest.mark.parametrize("fields", [{}, {"hello": hello()}, {"max_runs": 1, "chunk_size": 1}])
def test_a_proper_poll_is_not(fields: dict[str, Any]) -> None:
    check_poll(pb.PollRequest(**IDS, number=1, **fields))


Scenario = Callable[[World, PolledAgents], Coroutine[Any, Any, None]]


def play(scenario: Scenario) -> None:
    async def main() -> None:
        async with world() as it:
            await scenario(it, it.owner.connections.polled)

    asyncio.run(asyncio.wait_for(main(), 20))


async def ask(polled: PolledAgents, number: int, **fields: Any) -> pb.PollResponse:
    request = pb.PollRequest(**IDS, number=number, **fields)
    return await polled.poll(request, request.wait_ms / 1000)


def runs_of(response: pb.PollResponse) -> int:
    return sum(len(chunk.run_ids) // 16 for chunk in response.chunks)


async def greet(polled: PolledAgents, number: int = 1) -> pb.PollResponse:
    response = await ask(polled, number, hello=hello())
    assert response.HasField("welcome")
    return response


def test_nothing_is_kept_of_a_lapsed_session() -> None:
    async def scenario(it: World, polled: PolledAgents) -> None:
        client = it.client()
        await greet(polled)
        await client.submit(3)
        await it.settle()
        response = await ask(polled, 2, max_runs=3, chunk_size=3)
        assert len(response.chunks) == 1
        await it.advance_slowly(36)
        assert len(polled) == 0
        with pytest.raises(UnknownSession):
            await ask(polled, 2)

    play(scenario)


def test_every_call_renews_the_lease() -> None:
    async def scenario(it: World, polled: PolledAgents) -> None:
        await greet(polled)
        await ask(polled, 2)
        await it.advance_slowly(20)
        await ask(polled, 2)
        await it.advance_slowly(20)
        await polled.report(pb.ReportBatchRequest(**IDS, report_number=1))
        await it.advance_slowly(20)
        await ask(polled, 3)
        assert it.owner.metrics.leases_expired == 0

    play(scenario)


def test_a_process_whose_call_was_broken_off_is_replaced_and_told_to_stop() -> None:
    async def scenario(it: World, polled: PolledAgents) -> None:
        await greet(polled)
        waiting = asyncio.create_task(ask(polled, 2, max_runs=1, chunk_size=1, wait_ms=5_000))
        await it.settle()
        with pytest.raises(AgentExists):
            it.agent("a")
        waiting.cancel()
        await it.settle()
        newer = it.agent("a")
        with pytest.raises(Superseded):
            await ask(polled, 3)
        newer.disconnect()  # it may come back within its lease
        with pytest.raises(Superseded):
            await ask(polled, 3)
        assert len(polled) == 0

    play(scenario)


def test_a_call_that_was_broken_off_takes_no_runs_along() -> None:
    async def scenario(it: World, polled: PolledAgents) -> None:
        client = it.client()
        await greet(polled)
        waiting = asyncio.create_task(ask(polled, 2, max_runs=1, chunk_size=1, wait_ms=5_000))
        await it.settle()
        waiting.cancel()
        await it.settle()
        [run_id] = await client.submit()
        await it.settle()
        assert not it.owner.agents[0].held
        response = await ask(polled, 2, max_runs=1, chunk_size=1, wait_ms=5_000)
        assert [chunk.run_ids for chunk in response.chunks] == [run_id]

    play(scenario)


def test_a_stream_of_the_same_session_takes_over_and_back() -> None:
    async def scenario(it: World, polled: PolledAgents) -> None:
        await greet(polled)
        waiting = asyncio.create_task(ask(polled, 2, max_runs=1, chunk_size=1, wait_ms=5_000))
        await it.settle()
        stream = it.agent("a", session_id=IDS["session_id"])
        with pytest.raises(StreamReplaced):
            await waiting
        with pytest.raises(Superseded):
            await ask(polled, 2)
        stream.disconnect()
        with pytest.raises(UnknownSession):
            await ask(polled, 2)
        await greet(polled, 2)
        assert [agent.connected for agent in it.owner.agents] == [True]
        assert stream.closed is None  # it had left before

    play(scenario)


def test_a_poll_that_has_ended_leaves_no_credit_behind() -> None:
    async def scenario(it: World, polled: PolledAgents) -> None:
        client = it.client()
        await greet(polled)
        await ask(polled, 2, max_runs=5, chunk_size=5)
        [agent] = it.owner.agents
        assert agent.credit <= 0
        [run] = await client.submit()
        await it.settle()
        other = it.agent("b")
        await it.settle()
        assert other.receive() == [run]

    play(scenario)


def test_runs_that_wait_for_the_next_response_count_against_it() -> None:
    async def scenario(it: World, polled: PolledAgents) -> None:
        client = it.client()
        await greet(polled)
        await client.submit(120, args=[b"x" * 60_000] * 120)  # more than one response holds
        await it.settle()
        first = runs_of(await ask(polled, 2, max_runs=100, chunk_size=8))
        assert 0 < first < 100
        assert first + runs_of(await ask(polled, 3, max_runs=100 - first, chunk_size=8)) == 100

    play(scenario)


def test_no_poll_empties_the_whole_queue() -> None:
    async def scenario(it: World, polled: PolledAgents) -> None:
        client = it.client()
        await greet(polled)
        await client.submit(MAX_RUNS + 1)
        await it.settle()
        response = await ask(polled, 2, max_runs=2**32 - 1, chunk_size=2**32 - 1)
        assert runs_of(response) == MAX_RUNS

    play(scenario)


def test_what_is_assigned_in_one_go_is_one_response() -> None:
    async def scenario(it: World, polled: PolledAgents) -> None:
        client = it.client()
        await greet(polled)
        waiting = asyncio.create_task(ask(polled, 2, max_runs=9, chunk_size=3, wait_ms=5_000))
        await it.settle()
        await client.submit(6)
        assert len((await waiting).chunks) == 2

    play(scenario)


def test_a_late_batch_after_a_hello_puts_none_out_of_turn() -> None:
    async def scenario(it: World, polled: PolledAgents) -> None:
        await ask(polled, 1, hello=hello())
        for number in (1, 2):
            await polled.report(pb.ReportBatchRequest(**IDS, report_number=number))
        await ask(polled, 2, hello=hello())
        for number in (1, 3):  # the first of them was sent twice, and has just arrived
            await polled.report(pb.ReportBatchRequest(**IDS, report_number=number))
        with pytest.raises(UnknownSession, match="4 has not arrived"):
            await polled.report(pb.ReportBatchRequest(**IDS, report_number=5))

    play(scenario)


def test_a_late_batch_does_not_take_back_later_acknowledgements() -> None:
    async def scenario(it: World, polled: PolledAgents) -> None:
        await greet(polled)
        first, second = (pb.ReportBatchRequest(**IDS, report_number=number) for number in (1, 2))
        await polled.report(first)
        answers = await asyncio.gather(polled.report(second), polled.report(first))
        assert [answer.reported_up_to for answer in answers] == [2, 2]

    play(scenario)
