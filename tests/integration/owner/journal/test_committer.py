"""The committer where it meets trouble: nobody is left waiting, and nothing waits longer than it has to."""

import asyncio
import logging
import threading
from typing import Any

import pytest
from support.owner_harness import LEASES, World, assigned, play, started

from taskyard_contract.errors import NotOwner, StorageFull, StorageUnavailable
from taskyard_contract.states import RunState

FULL = StorageFull("the database has no room: make room, then repeat", retry_after=5.0)


async def quiet(it: World) -> None:
    """Let everything happen that happens without anybody asking for a commit."""
    async with asyncio.timeout(5):
        while not it.shard.committer.idle:  # noqa: ASYNC110  # nobody else may ask it to write
            await asyncio.sleep(0.001)
    for _ in range(5):
        await asyncio.sleep(0)


def fail_once(it: World, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let the next commit fail."""
    commit = it.store.commit

    def failing(batch: Any) -> Any:
        monkeypatch.setattr(it.store, "commit", commit)
        raise error

    monkeypatch.setattr(it.store, "commit", failing)


def test_a_resent_batch_that_is_known_is_acknowledged_by_itself() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        ids = await client.submit(2, queue="nobody")
        await it.settle()
        client.disconnect()
        again = it.client(client.session.session_id)
        again.number = 1  # the number of the first batch would be acknowledged in any case
        await again.submit(run_ids=ids, resend=True, queue="nobody")
        await quiet(it)
        again.receive()
        assert again.acknowledged == 2

    play(scenario)


def test_what_was_refused_for_want_of_room_does_not_refuse_what_comes_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        await client.submit(queue="nobody")
        await quiet(it)  # the template is recorded: nothing but the runs is in the next commit
        fail_once(it, monkeypatch, FULL)
        [refused] = await client.submit(queue="nobody")
        await quiet(it)
        assert not it.owner.stalled
        [accepted] = await client.submit(queue="nobody")
        await quiet(it)
        client.receive()
        assert (refused in client.refused, accepted in client.refused) == (True, False)

    play(scenario)


def test_what_arrives_while_a_commit_finds_no_room_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        [run_id] = await client.submit()
        await assigned(it, agent)
        it.store.small_commits_are_fast = False
        room = it.store.commit

        def full(batch: Any) -> Any:
            raise FULL

        monkeypatch.setattr(it.store, "commit", full)
        agent.report([run_id])  # must wait for room
        await asyncio.sleep(0)
        [late] = await client.submit()
        async with asyncio.timeout(5):
            while late not in client.refused:
                await asyncio.sleep(0.001)
                client.receive()
        assert client.state_of(run_id) is None
        monkeypatch.setattr(it.store, "commit", room)
        await it.settle()
        assert client.state_of(run_id) == RunState.COMPLETED

    play(scenario)


def test_a_caller_that_left_holds_nobody_up() -> None:
    async def scenario(it: World) -> None:
        writer, failures = it.shard.committer, list[Any]()
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        asked = writer.run(lambda: 1)
        await asyncio.sleep(0)
        asked.cancel()
        assert await writer.run(lambda: 2) == 2
        assert failures == []

    play(scenario)


def test_a_commit_whose_follow_up_fails_is_the_end() -> None:
    async def scenario(it: World) -> None:
        def fail() -> None:
            raise ZeroDivisionError

        it.shard.committer.open.then.append(fail)
        with pytest.raises(ZeroDivisionError):
            await it.shard.committer.durable()
        failed, it.failed = it.failed, []
        assert [type(error) for error in failed] == [ZeroDivisionError]

    play(scenario)


@pytest.mark.parametrize("error", [NotOwner("another one took over"), ZeroDivisionError()])
def test_whoever_waits_for_the_store_is_told_that_there_is_none(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        it.store.small_commits_are_fast = False
        fail_once(it, monkeypatch, error)
        await client.submit(queue="nobody")
        await asyncio.sleep(0)
        with pytest.raises(type(error)):
            await it.ask(lambda: 1)
        failed, it.failed = it.failed, []
        assert failed == [error]

    play(scenario)


def test_an_owner_that_stops_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        it = await started("sqlite://")

        def silent(batch: Any) -> Any:
            raise StorageUnavailable("no answer", retry_after=1.0)

        monkeypatch.setattr(it.store, "commit", silent)
        await it.client().submit(queue="nobody")
        while not it.owner.stalled:  # noqa: ASYNC110  # waiting for a commit would ask for one
            await asyncio.sleep(0.001)
        waiting = [
            asyncio.ensure_future(it.shard.committer.durable()),
            asyncio.ensure_future(it.shard.committer.run(lambda: None)),
        ]
        await asyncio.sleep(0)
        await it.owner.stop()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [StorageUnavailable] * 2

    asyncio.run(asyncio.wait_for(main(), 5))


def test_a_dispatch_is_recorded_though_nobody_looks() -> None:
    async def scenario(it: World) -> None:
        client, agent = it.client(), it.agent()
        await client.submit()
        await quiet(it)
        agent.receive()
        commits = it.owner.metrics.commits
        assert it.shard.committer.open.rows.dispatches
        async with asyncio.timeout(5):
            while it.owner.metrics.commits == commits:  # noqa: ASYNC110  # see above
                await asyncio.sleep(0.001)

    play(scenario)


def test_a_database_that_hangs_is_seen_while_it_does(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)

    async def scenario(it: World) -> None:
        client = it.client()
        client.disconnect()
        it.store.small_commits_are_fast = False
        commit, released = it.store.commit, threading.Event()

        def hanging(batch: Any) -> Any:
            released.wait(30)
            return commit(batch)

        monkeypatch.setattr(it.store, "commit", hanging)
        try:
            submitter = it.client()
            [run_id] = await submitter.submit(queue="nobody")
            await asyncio.sleep(0)
            it.clock.seconds += 1
            it.shard.timers.fire()
            assert (it.owner.stalled, caplog.messages) == (False, [])
            for _ in range(round(3 * LEASES.session_lease)):
                it.clock.seconds += 1
                it.shard.timers.fire()
            assert it.owner.stalled
            assert "the database has not answered for" in caplog.messages[0]
            assert client.session in it.owner.sessions, "whose silence proves nothing"
            assert len(it.shard.committer._jobs) <= 1, "upkeep does not gather behind it"
        finally:
            released.set()
        await it.settle()
        assert (it.owner.stalled, "answers again" in caplog.messages[-1]) == (False, True)
        submitter.receive()
        assert submitter.acknowledged == 1
        assert run_id not in submitter.refused

    play(scenario)


class LaterByHand:
    """The loop of a committer, except that time passes only when the test says so."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.delays: list[float] = []
        self.waiting: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def call_later(self, delay: float, *call: Any) -> None:
        self.delays.append(delay)
        self.waiting.append(call)

    async def pass_time(self) -> None:
        waiting, self.waiting = self.waiting, []
        for action, *arguments in waiting:
            action(*arguments)
        for _ in range(20):
            await asyncio.sleep(0)


def test_a_full_database_is_asked_ever_more_rarely_whatever_was_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(it: World) -> None:
        client, tried = it.client(), 0
        room = it.store.commit

        def full(batch: Any) -> Any:
            nonlocal tried
            tried += 1
            raise FULL

        later = LaterByHand(asyncio.get_running_loop())
        monkeypatch.setattr(it.shard.committer, "_loop", later)
        monkeypatch.setattr(it.store, "commit", full)
        [first] = await client.submit(queue="nobody")  # its template is for whoever comes later, and stays
        for _ in range(20):
            await asyncio.sleep(0)
        for attempt in range(1, 9):
            assert tried == attempt
            await client.submit(queue="nobody")  # is refused without asking the database
            for _ in range(20):
                await asyncio.sleep(0)
            assert tried == attempt
            await later.pass_time()
        assert later.delays[:6] == [0.05, 0.1, 0.25, 0.5, 1.0, 1.0]
        client.receive()
        assert first in client.refused
        monkeypatch.setattr(it.store, "commit", room)
        await later.pass_time()
        monkeypatch.setattr(it.shard.committer, "_loop", asyncio.get_running_loop())
        [accepted] = await client.submit(queue="nobody")
        await quiet(it)
        assert accepted in it.runs

    play(scenario)


def test_a_commit_with_nothing_in_it_is_made_anew_and_loses_nothing() -> None:
    async def scenario(it: World) -> None:
        client = it.client()
        await client.submit(queue="nobody")
        await quiet(it)
        journal, told = it.shard.journal, list[int]()
        journal.nothing_open_below(7)
        journal.dispatches_over_below(3)
        known = journal.open
        it.owner.renew()
        renewed = journal.open
        assert renewed is not known
        assert (renewed.rows.low_seq, renewed.rows.dispatched_below) == (7, 3)
        assert renewed.rows.number == known.rows.number
        for something in (
            lambda: journal.then(lambda: told.append(1)),
            lambda: journal.look_up_run(b"?" * 16),
            lambda: journal.forget_log_marks(1),
        ):
            something()
            known = journal.open
            it.owner.renew()
            assert journal.open is known
            await it.settle()
        assert told == [1]

    play(scenario)
