"""Window, credit, lease and outbox: the arithmetic of the agent protocol."""

import pytest

from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.agent_link.credit import CreditLedger
from taskyard_contract.agent_link.lease import Lease
from taskyard_contract.agent_link.outbox import Outbox
from taskyard_contract.agent_link.window import MAX_CHUNK, MAX_WINDOW, WindowSizer


def test_a_window_starts_with_the_slots() -> None:
    sizer = WindowSizer(3)
    assert (sizer.window, sizer.chunk_size, sizer.pipelined) == (3, 1, False)


def test_a_window_at_most_doubles_with_each_measurement() -> None:
    sizer, sizes = WindowSizer(2), []
    for _ in range(12):
        sizer.ended(10, 10 * 5e-6)
        sizes.append(sizer.window)
    assert sizes[:4] == [4, 8, 16, 32]
    assert sizes[-1] == MAX_WINDOW
    assert sizer.chunk_size == MAX_CHUNK
    assert sizer.pipelined


@pytest.mark.parametrize(
    ("seconds", "window", "chunk"), [(0.001, 72, 3), (0.01, 9, 1), (0.1, 2, 1), (1.0, 2, 1), (600.0, 2, 1)]
)
def test_a_window_is_time_not_count(seconds: float, window: int, chunk: int) -> None:
    sizer = WindowSizer(2)
    for _ in range(20):
        sizer.ended(1, seconds)
    assert (sizer.window, sizer.chunk_size) == (window, chunk)


def test_a_run_that_does_not_end_shrinks_the_window_to_the_slots() -> None:
    sizer = WindowSizer(2)
    for _ in range(12):
        sizer.ended(100, 100 * 5e-6)
    sizer.running(1.5)
    assert (sizer.window, sizer.chunk_size, sizer.pipelined) == (2, 1, False)


def test_a_run_slower_than_the_others_shrinks_the_window_once_however_often_it_is_told() -> None:
    sizer = WindowSizer(2)
    for _ in range(12):
        sizer.ended(100, 100 * 5e-6)
    for _ in range(20):
        sizer.running(0.1)
    assert sizer.window == 2 + int(2 * 0.035 / ((5e-6 * 32 + 0.1) / 33))
    sizer.ended(256, 256 * 5e-6)
    assert sizer.window > 40


def test_a_single_slow_run_is_soon_forgotten() -> None:
    sizer = WindowSizer(2)
    sizer.ended(1, 2.0)
    for _ in range(40):
        sizer.ended(32, 32 * 5e-6)
    assert sizer.window == MAX_WINDOW


def test_a_slow_first_run_is_forgotten_at_once() -> None:
    sizer = WindowSizer(2)
    sizer.ended(1, 0.3)
    for _ in range(24):
        sizer.ended(1, 50e-6)
    assert sizer.window > 20


def test_only_a_backlog_of_seconds_is_stranded() -> None:
    sizer = WindowSizer(2)
    assert sizer.stranded(100) == 0
    for _ in range(40):
        sizer.ended(1, 0.1)
    assert sizer.stranded(20) == 0
    assert sizer.stranded(30) == 28


def test_an_empty_report_measures_nothing() -> None:
    told, untold = WindowSizer(2), WindowSizer(2)
    told.ended(0, 0.0)
    for sizer in (told, untold):
        sizer.ended(4, 0.4)
    assert (told.window, told.chunk_size) == (untold.window, untold.chunk_size)
    assert told.stranded(50) == untold.stranded(50) > 0


def test_credit_is_what_came_plus_what_fits() -> None:
    ledger = CreditLedger()
    assert ledger.advance(0, 8, 2) == 8
    ledger.received(8)
    assert ledger.advance(4, 8, 2) == 12


def test_a_handful_of_credits_is_not_announced_while_work_is_in_hand() -> None:
    ledger = CreditLedger()
    ledger.advance(0, 128, 2)
    ledger.received(128)
    assert ledger.advance(120, 128, 2) is None
    assert ledger.advance(96, 128, 2) == 160


def test_every_credit_counts_when_the_workers_run_dry() -> None:
    ledger = CreditLedger()
    ledger.advance(0, 128, 2)
    ledger.received(128)
    ledger.advance(126, 200, 2)
    assert ledger.advance(2, 20, 2) == 146


def test_unused_credit_is_taken_back_when_runs_turn_out_slow() -> None:
    ledger = CreditLedger()
    ledger.advance(0, 2048, 2)
    ledger.received(100)
    assert ledger.advance(100, 2, 2) == 100
    assert ledger.unused == 0


def test_a_lease_counts_from_when_the_answered_heartbeat_was_sent() -> None:
    lease = Lease()
    assert not lease.lapsed(1e9)
    lease.grant(30.0, 5.0, sent_at=100.0)
    first, second = lease.beat(110.0), lease.beat(115.0)
    lease.answered(first)
    assert lease.silence(120.0) == 10.0
    lease.answered(second)
    lease.answered(first)
    assert lease.silence(120.0) == 5.0
    assert not lease.doubtful(138.9)
    assert lease.doubtful(139.1)
    assert not lease.lapsed(144.9)
    assert lease.lapsed(145.0)


def test_an_ended_lease_is_neither_doubtful_nor_lapsed_again() -> None:
    lease = Lease()
    lease.grant(30.0, 5.0, sent_at=0.0)
    lease.end()
    assert not lease.lapsed(1000.0)
    assert not lease.doubtful(1000.0)


def test_an_outbox_keeps_frames_until_their_number_is_acknowledged() -> None:
    outbox = Outbox()
    for run in (b"a" * 16, b"b" * 16, b"c" * 16):
        outbox.add(pb.AgentFrame(cancelled=[pb.RunKey(run_id=run, epoch=1)], heartbeat=9))
    assert outbox.acknowledge(1)
    assert not outbox.acknowledge(1)
    again = outbox.unacknowledged()
    assert [frame.report_number for frame in again] == [2, 3]
    assert [frame.heartbeat for frame in again] == [0, 0]
    outbox.add(pb.AgentFrame())
    assert outbox.unacknowledged()[-1].report_number == 4


def test_an_outbox_names_every_run_it_speaks_of() -> None:
    outbox = Outbox()
    key = pb.RunKey(run_id=b"z" * 16, epoch=9)
    outbox.add(
        pb.AgentFrame(
            reports=[pb.ReportChunk(first_epoch=5, run_ids=b"x" * 16 + b"y" * 16)],
            lost=[pb.LostRun(key=key)],
            given_back=[key],
            cancelled=[key],
        )
    )
    named = [(run.run_id[:1], run.epoch) for run in outbox.run_keys()]
    assert named == [(b"x", 5), (b"y", 6), (b"z", 9), (b"z", 9), (b"z", 9)]
