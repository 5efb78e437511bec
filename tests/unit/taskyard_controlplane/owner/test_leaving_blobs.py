"""Names of blobs that leave: who takes one back, and who is told that it is there."""

import asyncio

from taskyard_controlplane.owner.leaving_blobs import AGAIN_SECONDS, TOLD_SECONDS, LeavingBlobs


class Clock:
    def __init__(self) -> None:
        self.seconds = 5.0


def leaving_with(clock: Clock) -> LeavingBlobs:
    return LeavingBlobs(lambda: clock.seconds)


def test_what_somebody_was_told_to_be_there_may_not_go_for_a_while() -> None:
    clock = Clock()
    leaving = leaving_with(clock)
    assert leaving.told(["a"]) == set()
    clock.seconds += TOLD_SECONDS - 1
    assert not leaving.may_go("a")
    assert leaving.may_go("b")
    assert leaving.told(["a"]) == set()
    clock.seconds += TOLD_SECONDS - 1
    assert not leaving.may_go("a"), "it was told again"
    clock.seconds += AGAIN_SECONDS + 2
    assert leaving.may_go("a")


def test_to_be_told_the_same_again_and_again_takes_no_room() -> None:
    clock = Clock()
    leaving = leaving_with(clock)
    for _ in range(1_000):
        leaving.told(["a", "b"])
    assert len(leaving._told_in_order) == 2
    clock.seconds += TOLD_SECONDS + AGAIN_SECONDS
    leaving.told([])
    assert not leaving._told
    assert not leaving._told_in_order


def test_a_reference_takes_back_what_is_doomed_or_asked_about_and_nothing_else() -> None:
    leaving = leaving_with(Clock())
    leaving.asked.add("asked")
    leaving.due_us["doomed"] = 5
    for name in ("asked", "doomed", "other"):
        leaving.referred(name)
    assert leaving.taken_back == {"asked", "doomed"}
    assert not leaving.asked
    assert not leaving.due_us


def test_who_stores_what_is_going_waits_until_it_is_gone() -> None:
    async def scenario() -> None:
        leaving = leaving_with(Clock())
        leaving.due_us["a"] = 5
        leaving.begin_removing(["a"])
        assert leaving.told(["a", "b"]) == {"a"}
        assert leaving.is_going(["b", "a"])
        waiting = asyncio.ensure_future(leaving.gone("a"))
        await asyncio.sleep(0)
        assert not waiting.done()
        leaving.end_removing(["a"])
        await waiting
        await leaving.gone("a")
        assert not leaving.is_going(["a"])
        assert leaving.removals == 1

    asyncio.run(scenario())
