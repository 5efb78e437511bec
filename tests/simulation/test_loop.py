"""What plays rely on: time jumps, killed nodes run nothing more, paused ones miss nothing."""

import asyncio
from collections.abc import Iterator

import pytest

from simulation.loop import SPIN, START_SECONDS, Node, SimulatedLoop


@pytest.fixture
def loop() -> Iterator[SimulatedLoop]:
    it = SimulatedLoop()
    yield it
    it.forget()
    it.close()


def test_time_passes_only_when_nothing_is_ready(loop: SimulatedLoop):
    seen: list[float] = []

    async def wait() -> None:
        for seconds in (3600.0, 0.5):
            await asyncio.sleep(seconds)
            seen.append(loop.time())
        loop.stop()

    Node(loop, "a", "1").spawn(wait())
    loop.run_forever()
    assert seen == [START_SECONDS + 3600.0, START_SECONDS + 3600.5]


def test_a_killed_node_runs_nothing_more_and_others_go_on(loop: SimulatedLoop):
    done: list[str] = []

    async def work(name: str) -> None:
        try:
            await asyncio.sleep(1.0)
            done.append(name)
        finally:
            done.append(f"{name} cleans up")

    victim, survivor = Node(loop, "victim", "1"), Node(loop, "survivor", "1")
    victim.spawn(work("victim"))
    survivor.spawn(work("survivor"))
    loop.later(0.5, victim.kill)
    loop.later(2.0, loop.stop)
    loop.run_forever()
    assert done == ["survivor", "survivor cleans up"]


def test_a_paused_node_finds_everything_in_order(loop: SimulatedLoop):
    done: list[tuple[int, float]] = []
    node = Node(loop, "a", "1")
    for number in range(3):
        loop.call_later(
            1.0 + number, lambda number=number: done.append((number, loop.time())), context=node.context
        )
    loop.later(0.5, node.pause)
    loop.later(10.0, node.resume)
    loop.later(11.0, loop.stop)
    loop.run_forever()
    assert done == [(0, START_SECONDS + 10), (1, START_SECONDS + 10), (2, START_SECONDS + 10)]


def test_a_crash_can_be_put_before_any_callback(loop: SimulatedLoop):
    done: list[int] = []
    node = Node(loop, "a", "1")
    node.crash_at = 2
    for number in range(5):
        node.run(done.append, number)
    loop.later(1.0, loop.stop)
    loop.run_forever()
    assert done == [0, 1]
    assert not node.alive


def test_what_a_thread_does_takes_time_and_may_be_lost_with_its_node(loop: SimulatedLoop):
    told: list[str] = []
    node = Node(loop, "a", "1")

    async def ask() -> None:
        told.append(await loop.run_in_executor(None, lambda: f"asked at {loop.time() > START_SECONDS}"))
        loop.run_in_executor(None, told.append, "never")
        node.kill()

    node.spawn(ask())
    loop.later(1.0, loop.stop)
    loop.run_forever()
    assert told == ["asked at True"]


def test_what_goes_round_without_waiting_is_noticed(loop: SimulatedLoop):
    spinning: list[Node | None] = []
    node = Node(loop, "a", "1")

    def again() -> None:
        if not spinning:
            node.run(again)

    loop.on_spin = spinning.append
    node.run(again)
    loop.later(1.0, loop.stop)
    loop.run_forever()
    assert spinning == [node]
    assert loop.callbacks > SPIN


def test_errors_are_heard_with_the_node_they_happened_in(loop: SimulatedLoop):
    heard: list[tuple[Node | None, str]] = []
    loop.on_error = lambda node, error: heard.append((node, str(error)))
    node = Node(loop, "a", "1")
    node.run(int, "no number")
    loop.later(1.0, loop.stop)
    loop.run_forever()
    assert heard == [(node, "invalid literal for int() with base 10: 'no number'")]
