"""Text that is no UTF-8, or far too much of it, harms nobody."""

from support.loopback import LoopbackSession

from taskyard import task
from taskyard._engine.execution import reports
from taskyard._engine.submission.scope import Scope
from taskyard._engine.submission.submitting import submit_one
from taskyard._network.session.in_flight import InFlight
from taskyard._network.session.session import Session
from taskyard.logging.loggers import MAX_MESSAGE
from taskyard.states import Failed
from taskyard_contract.transport.channels import MAX_FRAME_BYTES


def test_log_records_that_are_no_utf8_are_sent_all_the_same() -> None:
    exchange = InFlight(str, lambda: None, lambda delay, call: None)
    exchange.log((b"r" * 16, 0, 20, "taskyard.flow_runs", "found \udcff.txt", "name"))
    frame = exchange.next_frame()
    assert frame is not None
    assert "found" in frame.logs.messages[0]


def test_a_cache_key_that_is_no_utf8_harms_only_itself(session: LoopbackSession) -> None:
    @task(cache_key_fn=lambda context, parameters: "/data/\udcff.csv")
    def load() -> int:
        return 1

    real = Session(lambda: "unix:nowhere")
    real.signal = lambda: None  # type: ignore[method-assign]
    submit_one(load, Scope(real), (), {})
    assert real.in_flight.next_frame() is not None


def test_frames_of_logs_stay_below_the_limit() -> None:
    exchange = InFlight(str, lambda: None, lambda delay, call: None)
    for _ in range(1000):
        exchange.log((b"r" * 16, 0, 20, "l", "x" * MAX_MESSAGE, "name"))
    while (frame := exchange.next_frame()) is not None:
        assert frame.ByteSize() < MAX_FRAME_BYTES


def test_a_message_given_by_hand_is_cut() -> None:
    report = reports.state_by_hand(Failed(message="x" * 20_000_000))
    assert report.ByteSize() < MAX_FRAME_BYTES
