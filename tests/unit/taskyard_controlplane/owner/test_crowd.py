"""Who sends much leaves room for those who wait, and only for them."""

import pytest
from support.owner_harness import FakeClock

from taskyard_contract.id_factory import new_id
from taskyard_controlplane.owner.peers.client_session import ClientSession
from taskyard_controlplane.owner.queueing.new_groups import WHOLE, Portion
from taskyard_controlplane.owner.serving.crowd import (
    FAIR_PART,
    FAIR_RATE,
    FAIR_RUNS,
    LARGE_BYTES,
    SMALL_BYTES,
    WAITING_SECONDS,
    Crowd,
    pause_after,
)

PER_PEER = 1024 * 1024


def peer() -> ClientSession:
    return ClientSession(new_id(), "client", b"", 0.0)


def test_somebody_alone_has_all_there_is() -> None:
    crowd, alone = Crowd(FakeClock(), PER_PEER), peer()
    for _ in range(3):
        crowd.note(alone, 100, 1)
        assert crowd.portion(alone) is WHOLE


@pytest.mark.parametrize(("size", "runs"), [(100, FAIR_RUNS), (SMALL_BYTES + 1, 1)])
def test_those_who_send_much_do_not_wait_for_each_other(size: int, runs: int) -> None:
    crowd, one, another = Crowd(FakeClock(), PER_PEER), peer(), peer()
    for _ in range(3):
        crowd.note(one, size, runs)
        crowd.note(another, size, runs)
    assert crowd.portion(one) is WHOLE
    assert crowd.portion(another) is WHOLE


def test_whoever_sends_beside_somebody_that_waits_has_a_portion_until_that_one_is_silent() -> None:
    clock = FakeClock()
    crowd, waiting, greedy = Crowd(clock, PER_PEER), peer(), peer()
    crowd.note(waiting, 100, 1)
    crowd.note(greedy, 100, FAIR_RUNS)
    assert crowd.portion(greedy) == Portion(FAIR_RUNS, PER_PEER // FAIR_PART)
    assert crowd.portion(waiting) is WHOLE
    clock.seconds += WAITING_SECONDS
    assert crowd.portion(greedy) is WHOLE


def test_what_somebody_sends_itself_does_not_hide_who_waits() -> None:
    crowd, waiting, greedy = Crowd(FakeClock(), PER_PEER), peer(), peer()
    crowd.note(waiting, 100, 1)
    for _ in range(3):
        crowd.note(greedy, 100, 1)  # the end of a map, for example
    assert crowd.waits_beside(greedy)
    assert crowd.waits_beside(waiting)


@pytest.mark.parametrize(("runs", "size"), [(FAIR_RUNS, 0), (1, PER_PEER // FAIR_PART + 1)])
def test_a_share_is_of_runs_and_of_bytes(runs: int, size: int) -> None:
    crowd, waiting, greedy = Crowd(FakeClock(), PER_PEER), peer(), peer()
    greedy.unsettled_runs, greedy.unsettled_bytes = runs, size
    assert not crowd.has_its_share(greedy)
    crowd.note(waiting, 100, 1)
    assert crowd.has_its_share(greedy)
    greedy.unsettled_runs, greedy.unsettled_bytes = FAIR_RUNS - 1, PER_PEER // FAIR_PART
    assert not crowd.has_its_share(greedy)


def test_larger_frames_have_longer_pauses_and_small_ones_none() -> None:
    assert pause_after(SMALL_BYTES) == 0.0
    assert pause_after(LARGE_BYTES) == LARGE_BYTES / FAIR_RATE
    assert pause_after(4 * LARGE_BYTES) == 16 * LARGE_BYTES / FAIR_RATE
    assert pause_after(LARGE_BYTES, LARGE_BYTES) == 8 * LARGE_BYTES / FAIR_RATE, "templates and code"
