"""How blobs go that nothing refers to, and what keeps them: on an owner played by the test."""

import asyncio
from pathlib import Path

import pytest
from support.memory_blobs import MemoryBlobs
from support.owner_harness import Client, World, assigned, kill_and_restart, play
from support.retention_scenes import A_DAY, B3, GRACE, NOW, ended, gone, named, prune, with_blobs

from taskyard_contract.blobs.names import result_name, sha256_name
from taskyard_contract.errors import Overloaded, StorageUnavailable
from taskyard_contract.id_factory import new_id
from taskyard_contract.states import RunState
from taskyard_controlplane.owner.leaving_blobs import AGAIN_SECONDS, TOLD_SECONDS
from taskyard_controlplane.owner.retention import retention as retention_module
from taskyard_controlplane.owner.retention.blobs import ORPHAN_US
from taskyard_controlplane.owner.retention.policy import Policy
from taskyard_controlplane.owner.retention.runs import Removed


async def one_result(it: World, blobs: MemoryBlobs) -> str:
    """Let a session come, run something that returns a blob, and go; returns the blob's name."""
    client, agent = it.client(), it.agent(new_id().hex())
    run_ids = await client.submit()
    [name] = await ended(it, agent, run_ids)
    blobs.put(name)
    await gone(it, client)
    return name


def test_bytes_go_when_those_who_were_told_their_name_had_time_to_open_them() -> None:
    async def scenario(it: World, blobs: MemoryBlobs) -> None:
        name = await one_result(it, blobs)
        await it.client().submit()
        assert (await prune(it)).runs == 1
        assert name in blobs.blobs, "somebody is there"
        assert it.owner.retention.blobs.free_in_us > 0
        it.clock.seconds += GRACE
        assert await it.owner.retention.blobs.remove() == 1
        assert not blobs.blobs
        assert not it.shard.leaving.due_us
        assert await it.ask(lambda: it.store.blobs.orphans([name])) == [name]

    with_blobs(scenario)


def test_bytes_go_at_once_when_nobody_is_there() -> None:
    async def scenario(it: World, blobs: MemoryBlobs) -> None:
        await one_result(it, blobs)
        removed = await prune(it)
        assert (removed.runs, removed.blobs) == (1, 1)
        assert not blobs.blobs

    with_blobs(scenario)


def test_a_store_that_does_not_answer_is_asked_again() -> None:
    async def scenario(it: World, blobs: MemoryBlobs) -> None:
        name = await one_result(it, blobs)
        await it.client().submit()
        await prune(it)
        it.clock.seconds += GRACE
        blobs.broken = StorageUnavailable("the network is down")
        assert await it.owner.retention.blobs.remove() == 0
        assert name in it.shard.leaving.taken_back, "to be looked at again"
        blobs.broken = None
        await it.owner.retention.blobs.doom(0)
        assert await it.owner.retention.blobs.remove() == 1

    with_blobs(scenario)


async def doomed_content(it: World, blobs: MemoryBlobs) -> Client:
    """Doom a content that a run had as an argument; returns a client that came later."""
    client, agent = it.client(), it.agent()
    run_ids = await client.submit(args=[], extras=[named(B3)])
    blobs.put(B3)
    await ended(it, agent, run_ids, value=b"small")
    await gone(it, client)
    client = it.client()
    await client.submit(queue="nobody")
    await prune(it)
    assert B3 in it.shard.leaving.due_us
    return client


def test_whoever_refers_to_a_doomed_blob_takes_it_back() -> None:
    async def scenario(it: World, blobs: MemoryBlobs) -> None:
        client = await doomed_content(it, blobs)
        await client.submit(queue="nobody", args=[], extras=[named(B3)])
        await it.settle()
        it.clock.seconds += A_DAY
        while await it.owner.retention.blobs.doom(0):
            pass
        assert await it.owner.retention.blobs.remove() == 0
        assert B3 in blobs.blobs
        assert await it.ask(it.store.blobs.doomed) == []

    with_blobs(scenario)


def test_a_reference_that_was_refused_takes_nothing_back_for_good() -> None:
    async def scenario(it: World, blobs: MemoryBlobs) -> None:
        await doomed_content(it, blobs)
        it.shard.leaving.referred(B3)  # and then its row could not be written
        it.clock.seconds += A_DAY
        assert await it.owner.retention.blobs.remove() == 0
        await it.owner.retention.blobs.doom(0)
        assert await it.owner.retention.blobs.remove() == 1
        assert not blobs.blobs

    with_blobs(scenario)


@pytest.mark.parametrize("how", ["stored", "told"])
def test_what_was_stored_or_found_lately_is_not_removed(how: str) -> None:
    async def scenario(it: World, blobs: MemoryBlobs) -> None:
        await doomed_content(it, blobs)
        it.clock.seconds += A_DAY
        if how == "stored":
            blobs.put(B3)
        else:
            assert it.shard.leaving.told([B3]) == set()
        assert await it.owner.retention.blobs.remove() == 0
        assert B3 in blobs.blobs
        it.clock.seconds += TOLD_SECONDS + AGAIN_SECONDS + 1
        await it.owner.retention.blobs.doom(0)
        assert await it.owner.retention.blobs.remove() == 1

    with_blobs(scenario)


def test_who_asks_for_a_blob_whose_bytes_are_going_has_to_store_it_again() -> None:
    async def scenario(it: World, blobs: MemoryBlobs) -> None:
        client = await doomed_content(it, blobs)
        it.clock.seconds += A_DAY
        leaving = it.shard.leaving
        removing = asyncio.create_task(it.owner.retention.blobs.remove())
        await asyncio.sleep(0)
        assert leaving.told([B3, "b3-" + "1" * 64]) == {B3}
        waiting = asyncio.create_task(leaving.gone(B3))
        await client.submit(queue="nobody", args=[], extras=[named(B3)])
        await removing
        await waiting
        blobs.put(B3)
        await it.settle()
        assert await it.ask(lambda: it.store.blobs.referred([B3])) == {B3: (5, 1)}, "the row is here again"
        while await it.owner.retention.blobs.doom(0):
            pass
        it.clock.seconds += A_DAY
        assert await it.owner.retention.blobs.remove() == 0

    with_blobs(scenario)


def test_nothing_is_removed_of_which_the_database_knows_better(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(it: World, blobs: MemoryBlobs) -> None:
        client = await doomed_content(it, blobs)
        monkeypatch.setattr(it.shard.leaving, "referred", lambda name: None)  # a defect
        await client.submit(queue="nobody", args=[], extras=[named(B3)])
        await it.settle()
        it.clock.seconds += A_DAY
        assert await it.owner.retention.blobs.remove() == 0
        assert B3 in blobs.blobs

    with_blobs(scenario)


def test_code_stays_while_there_is_a_template_that_names_it() -> None:
    async def scenario(it: World, blobs: MemoryBlobs) -> None:
        digest = b"\x07" * 32
        client = it.client()
        await client.submit(queue="nobody", code={"blob_digest": digest})
        await it.settle()
        old_us = it.clock.now_us()
        code, other = (blobs.put(sha256_name(each * 32), at_us=old_us) for each in (b"\x07", b"\x08"))
        it.clock.seconds += A_DAY
        retention = it.owner.retention
        await retention.blobs.sweep(retention._pace.pause)
        assert await retention.blobs.remove_orphans(retention._pace.pause) == 1
        assert list(blobs.blobs) == [code] != [other]

    with_blobs(scenario)


def test_a_reference_that_is_accepted_first_keeps_the_blob() -> None:
    async def scenario(it: World, blobs: MemoryBlobs) -> None:
        client, agent = it.client(), it.agent()
        run_ids = await client.submit(args=[], extras=[named(B3)])
        blobs.put(B3)
        await ended(it, agent, run_ids, value=b"small")
        await gone(it, client)
        client = it.client()
        await client.submit(queue="nobody", args=[], extras=[named(B3)])
        assert (await prune(it)).runs == 1
        it.clock.seconds += GRACE
        await it.owner.retention.blobs.doom()
        assert await it.owner.retention.blobs.remove() == 0
        assert B3 in blobs.blobs
        assert not it.shard.leaving.due_us

    with_blobs(scenario)


def test_a_cached_value_outlives_the_run_that_computed_it() -> None:
    async def scenario(it: World, blobs: MemoryBlobs) -> None:
        client, agent = it.client(), it.agent()
        run_ids = await client.submit(cache_keys=["key"])
        [name] = await ended(it, agent, run_ids)
        blobs.put(name)
        await gone(it, client)
        client = it.client()
        await client.submit(queue="nobody")
        assert (await prune(it)).runs == 1
        it.clock.seconds += GRACE
        await it.owner.retention.blobs.remove()
        [hit] = await client.submit(cache_keys=["key"])
        await it.settle()
        assert client.state_of(hit) == RunState.COMPLETED
        assert client.outcomes[hit].result.blob.name == name
        assert name in blobs.blobs

    with_blobs(scenario)


def test_files_that_nobody_names_go_after_a_day() -> None:
    async def scenario(it: World, blobs: MemoryBlobs) -> None:
        client, agent = it.client(), it.agent()
        run_ids = await client.submit(2, args=[], extras=[named(B3)])
        await assigned(it, agent)
        old_us = it.clock.now_us()
        pending, orphan = result_name(run_ids[0], 5), result_name(new_id(), 5)
        for name in (B3, pending, orphan):
            blobs.put(name, at_us=old_us)
        it.clock.seconds += ORPHAN_US / 1_000_000 + 1
        young = blobs.put(result_name(new_id(), 6))
        assert await it.owner.retention.blobs.remove_orphans(it.owner.retention._pace.pause) == 1
        assert set(blobs.blobs) == {B3, pending, young}, "an open run may still report one"

    with_blobs(scenario)


def test_the_home_is_kept_small_with_the_oldest_runs_first_and_cached_values_last() -> None:
    async def scenario(it: World, blobs: MemoryBlobs) -> None:
        client, agent = it.client(), it.agent()
        cached = await ended(it, agent, await client.submit(cache_keys=["key"]))
        others = [name for _ in range(3) for name in await ended(it, agent, await client.submit())]
        for name in cached + others:
            blobs.put(name)
        await gone(it, client)
        await it.client().submit()
        await it.settle()
        used = await it.ask(it.store.used_bytes)
        retention = it.owner.retention
        for room, left in ((350_000, cached + others[1:]), (150_000, cached), (50_000, [])):
            retention.policy = Policy(home_bytes=used + room)
            await retention._room.reduce(retention.policy, Removed())
            while await retention.blobs.doom():
                pass
            it.clock.seconds += GRACE
            while await retention.blobs.remove():
                pass
            assert sorted(blobs.blobs) == sorted(left), room

    with_blobs(scenario)


def test_what_would_be_removed_is_told_before() -> None:
    async def scenario(it: World, blobs: MemoryBlobs) -> None:
        await one_result(it, blobs)
        await one_result(it, blobs)
        client = it.client()
        await client.submit()
        await it.settle()
        expected = await it.owner.retention.expected(NOW)
        assert (expected.runs, expected.blobs, expected.blob_bytes) == (2, 2, 200_000)
        assert (await prune(it)).runs == 2
        assert await it.owner.retention.expected(NOW) == Removed()

    with_blobs(scenario)


def test_only_one_removes_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_module, "PATIENCE_SECONDS", 0.01)

    async def scenario(it: World) -> None:
        pruning = it.owner.retention.prune(NOW)
        await anext(pruning)
        with pytest.raises(Overloaded):
            await it.owner.retention.expected(NOW)
        await pruning.aclose()
        assert await it.owner.retention.expected(NOW) == Removed()

    play(scenario)


def test_nobody_prunes_before_programs_had_time_to_come_back(tmp_path: Path) -> None:
    async def before(it: World) -> None:
        await ended(it, it.agent(), await it.client().submit(2), value=b"small")

    async def after(it: World) -> None:
        with pytest.raises(Overloaded, match="coming back"):
            await prune(it)
        it.clock.seconds += 31
        assert (await prune(it)).runs == 2

    kill_and_restart(tmp_path, before, after)
