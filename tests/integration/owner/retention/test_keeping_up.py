"""Retention keeps up with what comes, however much that is, and does not forget blobs over runs."""

import pytest
from support.memory_blobs import MemoryBlobs
from support.owner_harness import World, play
from support.retention_scenes import GRACE, ended, gone, with_blobs

from taskyard_contract.id_factory import new_id
from taskyard_controlplane.owner.retention import pace
from taskyard_controlplane.owner.retention.pace import LEAST_SHARE, SHARE
from taskyard_controlplane.owner.retention.policy import Policy
from taskyard_controlplane.owner.retention.runs import Removed

MINUTE_US = 60_000_000


class SlowSteps:
    """Lets each step of a round take some seconds, and notes how much of the writer it takes."""

    def __init__(self, it: World, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shares: list[float] = []
        own = it.owner.retention._pace

        async def pause(took: float) -> None:
            it.clock.seconds += seconds
            self.shares.append(own.share)

        monkeypatch.setattr(own, "pause", pause)
        monkeypatch.setattr(pace, "STEP", 1)
        monkeypatch.setattr(pace, "LARGE_STEP", 1)


async def finished(it: World, count: int) -> list[bytes]:
    """Let runs end one after the other, whose results are small, and their client go."""
    client, agent = it.client(), it.agent(new_id().hex(), credit=count, chunk=count)
    runs = await client.submit(count)
    await ended(it, agent, runs, value=b"small")
    agent.disconnect()
    await gone(it, client)
    return runs


def test_blobs_go_while_a_round_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(it: World, blobs: MemoryBlobs) -> None:
        client, agent = it.client(), it.agent(new_id().hex())
        [name] = await ended(it, agent, await client.submit())
        blobs.put(name)
        await gone(it, client)
        runs = await finished(it, 15)
        it.clock.seconds += 61
        await it.client().submit()  # somebody is there, so the grace counts
        retention = it.owner.retention
        retention.policy = Policy(runs_us=MINUTE_US)
        SlowSteps(it, GRACE / 5, monkeypatch)
        removed = Removed()
        async with retention._alone():
            await retention._by_age(retention.policy, removed)
        assert (removed.runs, removed.blobs) == (1 + len(runs), 1)
        assert not blobs.blobs

    with_blobs(scenario)


def test_a_round_ends_though_more_runs_are_over_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(it: World) -> None:
        old = await finished(it, 3)
        it.clock.seconds += 61
        young = await finished(it, 3)
        SlowSteps(it, 20.0, monkeypatch)
        removed = Removed()
        await it.owner.retention._runs.runs(Policy(runs_us=MINUTE_US), removed)
        assert removed.runs == 3
        assert set(await it.ask(lambda: it.store.states_by_id(old + young))) == set(young)

    play(scenario)


def test_the_longer_runs_are_over_the_more_of_the_writer_their_removal_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(it: World) -> None:
        retention = it.owner.retention
        retention.policy = Policy(runs_us=MINUTE_US)
        steps = SlowSteps(it, 0.0, monkeypatch)
        for late, share in ((1, SHARE), (30, SHARE / 1.5), (60, SHARE / 2), (86_400, LEAST_SHARE)):
            await finished(it, 1)
            it.clock.seconds += 60 + late
            steps.shares.clear()
            await retention._by_age(retention.policy, Removed())
            assert min(steps.shares) == pytest.approx(share, rel=0.1), late
            assert retention._pace.share == SHARE, "the next round may be in time again"

    play(scenario)


def test_a_home_that_fills_quickly_is_looked_at_before_the_next_round() -> None:
    async def scenario(it: World, blobs: MemoryBlobs) -> None:
        retention = it.owner.retention
        used = await it.ask(it.store.used_bytes)
        retention.policy = Policy(home_bytes=used + 1_000_000)
        it.clock.seconds += 120
        await retention._do_what_is_due()
        assert not await retention._is_round_due()
        client, agent = it.client(), it.agent(new_id().hex())
        for name in await ended(it, agent, await client.submit(12)):
            blobs.put(name)  # 100,000 bytes each, as is said
        assert await retention._is_round_due()
        await gone(it, client)
        await retention._do_what_is_due()
        assert 0 < await it.ask(lambda: len(it.store.removals.runs(0, 100))) < 12
        assert not await retention._is_round_due()

    with_blobs(scenario)
