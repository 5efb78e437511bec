"""The cache: one run per key computes, whoever asks."""

from collections.abc import Callable
from typing import Any

import pytest
from support.owner_harness import World, assigned, play

from taskyard_api.v1 import common_pb2
from taskyard_contract.states import ReportKind, RunState, StateReason

S = RunState
LARGE_NAME = "b3-" + "0a" * 32
LARGE: dict[str, Any] = {
    "kind": ReportKind.SUCCEEDED,
    "result": common_pb2.Payload(blob=common_pb2.BlobRef(name=LARGE_NAME, size=70_000, checksum=1)),
}
"""What an agent reports of a run whose value is in the store."""


def test_equal_cache_keys_in_flight_run_once() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        ids = await client.submit(5, cache_keys=["k"] * 5)
        assert await assigned(it, agent) == ids[:1]
        agent.report(ids[:1])
        await it.settle()
        assert [client.state_of(run_id) for run_id in ids] == [S.COMPLETED] * 5
        assert client.outcomes[ids[1]].reason == StateReason.CACHED
        assert client.outcomes[ids[1]].result.data == b"result"
        [later] = await client.submit(cache_keys=["k"])
        assert await assigned(it, agent) == []
        assert client.state_of(later) == S.COMPLETED

    play(scenario)


def test_a_failed_leader_promotes_the_next_one() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        first, second, third = await client.submit(3, cache_keys=["k"] * 3)
        assert await assigned(it, agent) == [first]
        agent.report([first], kind=ReportKind.FAILED)
        assert await assigned(it, agent) == [second]
        agent.report([second])
        await it.settle()
        assert client.state_of(third) == S.COMPLETED
        assert client.outcomes[third].reason == StateReason.CACHED

    play(scenario)


def test_who_took_a_result_from_the_cache_names_the_run_that_computed_it() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        leader, follower = await client.submit(2, cache_keys=["k"] * 2)
        await assigned(it, agent)
        agent.report([leader])
        await it.settle()
        [later] = await client.submit(cache_keys=["k"])
        await it.settle()
        assert client.state_of(leader) == S.COMPLETED
        assert [client.state_of(run_id) for run_id in (follower, later)] == [S.COMPLETED] * 2
        assert [client.outcomes[run_id].cached_run_id for run_id in (follower, later)] == [leader] * 2

    play(scenario)


@pytest.mark.parametrize("everything", [False, True])
def test_a_cleared_key_is_computed_again(everything: bool) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        ids = await client.submit(2, cache_keys=["k", "long" * 1000])
        assert await assigned(it, agent) == ids
        agent.report(ids)
        await it.settle()
        cache = it.owner.cache
        if everything:
            assert await cache.ended_before(None) == 2
        else:
            assert [await cache.key(key) for key in ("k", "long" * 1000, "k")] == [1, 1, 0]
        again = await client.submit(2, cache_keys=["k", "long" * 1000])
        assert await assigned(it, agent) == again

    play(scenario)


def test_a_cache_that_is_cleared_while_a_key_is_computed_gets_the_result() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        leader, follower = await client.submit(2, cache_keys=["k"] * 2)
        assert await assigned(it, agent) == [leader]
        assert await it.owner.cache.ended_before(None) == 0
        assert await it.owner.cache.key("k") == 0
        agent.report([leader])
        await it.settle()
        assert client.state_of(follower) == S.COMPLETED
        [later] = await client.submit(cache_keys=["k"])
        assert await assigned(it, agent) == []
        assert client.state_of(later) == S.COMPLETED
        assert client.outcomes[later].cached_run_id == leader

    play(scenario)


def test_a_cleared_entry_whose_key_is_refreshed_is_replaced() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [first] = await client.submit(cache_keys=["k"])
        await assigned(it, agent)
        agent.report([first])
        [second] = await client.submit(cache_keys=["k"], refresh_cache=True)
        assert await assigned(it, agent) == [second]
        assert await it.owner.cache.ended_before(None) == 1
        agent.report([second])
        await it.settle()
        [third] = await client.submit(cache_keys=["k"])
        assert await assigned(it, agent) == []
        assert client.state_of(third) == S.COMPLETED
        assert client.outcomes[third].cached_run_id == second

    play(scenario)


def test_only_results_of_runs_that_ended_before_are_cleared() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [old] = await client.submit(cache_keys=["old"])
        await assigned(it, agent)
        agent.report([old], began_us=it.clock.now_us())
        await it.settle()
        it.clock.seconds += 60
        between_us = it.clock.now_us()
        it.clock.seconds += 60
        [new] = await client.submit(cache_keys=["new"])
        await assigned(it, agent)
        agent.report([new], began_us=it.clock.now_us())
        await it.settle()
        assert await it.owner.cache.ended_before(between_us) == 1
        again, _ = await client.submit(2, cache_keys=["old", "new"])
        assert await assigned(it, agent) == [again]

    play(scenario)


def test_an_expired_cache_entry_is_not_used() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [first] = await client.submit(cache_keys=["k"], cache_expiration_ms=60_000)
        await assigned(it, agent)
        agent.report([first])
        await it.settle()
        it.clock.seconds += 61
        [second] = await client.submit(cache_keys=["k"], cache_expiration_ms=60_000)
        assert await assigned(it, agent) == [second]

    play(scenario)


def test_a_result_that_came_late_is_not_for_those_who_came_when_it_had_expired() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        options: Any = {"cache_keys": ["k"], "cache_expiration_ms": 2_000}
        [leader] = await client.submit(**options)
        await assigned(it, agent)
        began_us = it.clock.now_us()
        it.clock.seconds += 1
        [early] = await client.submit(**options)
        it.clock.seconds += 5
        late = [(await client.submit(**options))[0] for _ in range(2)]
        agent.report([leader], began_us=began_us)
        assert await assigned(it, agent) == late[:1]
        assert client.state_of(early) == S.COMPLETED
        agent.report(late[:1])
        await it.settle()
        assert client.state_of(late[1]) == S.COMPLETED

    play(scenario)


def test_b5_9_refresh_cache_runs_and_overwrites() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        for refresh in (False, True):
            [run_id] = await client.submit(cache_keys=["k"], refresh_cache=refresh)
            assert await assigned(it, agent) == [run_id]
            agent.report([run_id])
            await it.settle()

    play(scenario)


def test_a_key_computed_by_the_worker_is_decided_by_the_control_plane() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        first, second = await client.submit(2)
        await assigned(it, agent)
        agent.report([first, second], kind=ReportKind.CACHE_KEY, cache_key="k")
        assert await assigned(it, agent) == [first]
        assert agent.bodies[first][0].extras[0].cache_key_decided
        agent.report([first])
        await it.settle()
        assert client.state_of(second) == S.COMPLETED
        assert client.outcomes[second].reason == StateReason.CACHED

    play(scenario)


def test_a_cached_value_that_is_gone_is_made_anew_once() -> None:
    """Semantics: a hit verifies that its value still exists, and counts as a miss otherwise."""

    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [first] = await client.submit(cache_keys=["k"])
        await assigned(it, agent)
        agent.report([first], **LARGE)
        await it.settle()
        asked = list[tuple[str, Callable[[bool], None]]]()
        it.owner.shard.cache.look_at = lambda blob, tell: asked.append((blob.name, tell))
        again, follower = await client.submit(2, cache_keys=["k"] * 2)
        assert await assigned(it, agent) == []
        [(name, tell)] = asked
        assert name == LARGE_NAME
        tell(False)
        assert await assigned(it, agent) == [again], "more than one makes it"
        agent.report([again])
        await it.settle()
        assert client.state_of(follower) == S.COMPLETED
        assert client.outcomes[follower].cached_run_id == again
        assert client.outcomes[follower].result.data == b"result"

    play(scenario)


def test_a_cached_value_that_is_there_is_taken() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [first] = await client.submit(cache_keys=["k"])
        await assigned(it, agent)
        agent.report([first], **LARGE)
        await it.settle()
        it.owner.shard.cache.look_at = lambda blob, tell: tell(True)
        [later] = await client.submit(cache_keys=["k"])
        await it.settle()
        assert client.state_of(later) == S.COMPLETED
        assert client.outcomes[later].cached_run_id == first
        assert client.outcomes[later].result.blob.name == LARGE_NAME

    play(scenario)
