"""Streams are read while the database keeps up, and no further."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from support.owner_harness import FakeClock

from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.errors import TaskyardError
from taskyard_contract.id_factory import new_id
from taskyard_controlplane.owner.journal.commit import Commit
from taskyard_controlplane.owner.peers.client_session import MAX_UNHEARD, ClientSession
from taskyard_controlplane.owner.serving.crowd import FAIR_RUNS, SMALL_BYTES, WAITING_SECONDS, pause_after
from taskyard_controlplane.owner.serving.intake import Intake


class Committer:
    """Commits when the test says so."""

    def __init__(self) -> None:
        self.open = Commit(1)
        self.asked = 0

    def touch(self) -> None:
        self.asked += 1

    @property
    def logs(self) -> "Committer":
        return self

    def when_written(self, number: int, action: Callable[[], None]) -> None:
        """All that was logged is stored."""
        action()

    def begin(self) -> Commit:
        """Take the open commit, which will be durable later."""
        commit, self.open = self.open, Commit(2)
        return commit

    def commit(self) -> None:
        finish(self.begin())


def finish(commit: Commit) -> None:
    for action in commit.then:
        action()


HEARTBEAT = pb.ClientFrame(heartbeat=True).ByteSize()


def peer() -> ClientSession:
    session = ClientSession(new_id(), "client", b"", 0.0)
    session.attach(lambda: None, lambda error: None)
    return session


Body = Callable[[Committer, Intake], Coroutine[Any, Any, None]]


def play(body: Body, clock: FakeClock | None = None) -> None:
    async def main() -> None:
        committer, time = Committer(), clock or FakeClock()
        intake = Intake(committer, time, per_peer=1_000, most=2_500, most_batches=2)  # type: ignore[arg-type]
        await asyncio.wait_for(body(committer, intake), 20)
        assert intake.total == 0

    asyncio.run(main())


async def held_up(reading: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
    """Return a reading that does not go on by itself."""
    task = asyncio.ensure_future(reading)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    return task


def test_a_peer_is_read_again_when_what_it_sent_is_durable() -> None:
    async def body(committer: Committer, intake: Intake) -> None:
        client = peer()
        await intake.took(client, 900)
        reading = await held_up(intake.took(client, 900))
        first = committer.begin()
        await intake.took(peer(), 90)  # others go on, and what they send changes nothing
        assert not reading.done()
        finish(first)
        await reading
        committer.commit()

    play(body)


def test_all_peers_together_have_a_share() -> None:
    clock = FakeClock()

    async def body(committer: Committer, intake: Intake) -> None:
        for _ in range(3):
            await intake.took(peer(), 800)
            clock.seconds += WAITING_SECONDS
        reading = await held_up(intake.took(peer(), 500))
        committer.commit()
        await reading
        committer.commit()

    play(body, clock)


def test_a_client_with_more_batches_than_it_may_have_is_not_read() -> None:
    async def body(committer: Committer, intake: Intake) -> None:
        client = peer()
        for _ in range(2):
            await intake.took(client, 18, runs=1)
        reading = await held_up(intake.took(client, 18, runs=1))
        committer.commit()
        await reading
        assert client.unsettled_batches == 0

    play(body)


@pytest.mark.parametrize(
    ("somebody_waits", "logs", "paused"),
    [(False, False, False), (True, False, True), (False, True, True)],
)
def test_a_peer_is_not_read_for_a_while_after_a_large_frame_that_others_wait_for(
    somebody_waits: bool, logs: bool, paused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        pauses.extend([seconds] if seconds else [])
        await sleep(0)

    async def body(committer: Committer, intake: Intake) -> None:
        if somebody_waits:
            await intake.took(peer(), 1, runs=1)
        monkeypatch.setattr(asyncio, "sleep", noted)
        size = SMALL_BYTES + 1
        reading = await held_up(intake.took(peer(), size, runs=None if logs else 1, logs=logs))
        assert pauses == ([pause_after(size)] if paused else [])
        committer.commit()
        await reading

    play(body)


def test_while_somebody_waits_who_sends_much_does_not_fill_the_commits() -> None:
    clock = FakeClock()

    async def body(committer: Committer, intake: Intake) -> None:
        greedy, other = peer(), peer()
        await intake.took(greedy, 18, runs=FAIR_RUNS)
        committer.commit()
        await intake.took(other, 5, runs=1)  # from here on somebody waits
        reading = await held_up(intake.took(greedy, 18, runs=FAIR_RUNS))
        await intake.took(other, 1, runs=1)
        committer.commit()
        await reading
        clock.seconds += WAITING_SECONDS
        for _ in range(2):
            await intake.took(greedy, 18, runs=FAIR_RUNS)  # alone again
        committer.commit()
        assert greedy.unsettled_runs == 0

    play(body, clock)


@pytest.mark.parametrize(
    "answer",
    [
        lambda client: client.refuse(new_id(), TaskyardError("no")),
        lambda client: client.decide(pb.FlowDecision(run_id=new_id())),
    ],
)
def test_a_client_that_does_not_take_answers_in_is_asked_for_no_more_questions(
    answer: Callable[[ClientSession], None],
) -> None:
    async def body(committer: Committer, intake: Intake) -> None:
        client = peer()
        for _ in range(MAX_UNHEARD + 1):
            answer(client)
        reading = await held_up(intake.took(client, 18))
        while client.next_frame() is not None:
            client.written()
        await reading

    play(body)


def test_a_stream_that_ends_while_it_is_held_up_leaves_nothing_behind() -> None:
    async def body(committer: Committer, intake: Intake) -> None:
        client = peer()
        reading = await held_up(intake.took(client, 1_500))
        reading.cancel()
        await asyncio.wait([reading])
        assert client.held_up is None
        committer.commit()

    play(body)


def test_heartbeats_ask_for_no_commit_and_a_commit_is_let_go() -> None:
    async def body(committer: Committer, intake: Intake) -> None:
        await intake.took(peer(), HEARTBEAT)
        assert not committer.asked
        await intake.took(peer(), 900)
        assert committer.asked == 1
        committer.commit()
        assert intake._commit is None

    play(body)
