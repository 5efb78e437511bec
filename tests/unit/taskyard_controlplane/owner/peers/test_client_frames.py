"""What a client's stream is sent: every frame of a size that travels, and nothing left behind."""

from collections.abc import Callable
from typing import Any

import pytest

from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.errors import TaskyardError
from taskyard_contract.id_factory import new_id, new_ids
from taskyard_controlplane.domain.memory import MemoryLimits
from taskyard_controlplane.owner.peers.client_session import (
    MAX_LOGS_PER_FRAME,
    MAX_RESULT_BYTES,
    MAX_RESULTS_PER_FRAME,
    MOST_HELD,
    ClientSession,
    Windows,
    fitting,
)


def close(error: TaskyardError) -> None:
    """End the stream."""


class Stream:
    """A session with a stream that takes a frame whenever it is woken."""

    def __init__(self, windows: Windows | None = None) -> None:
        self.woken = 0
        self.session = ClientSession(new_id(), "client", b"", 0.0, windows)
        self.session.attach(self.wake, close)

    def wake(self) -> None:
        self.woken += 1

    def frames(self) -> list[pb.SessionFrame]:
        """Take a frame for this time, and for each time the session asks for another."""
        frames, self.woken = [], 1
        while self.woken:
            self.woken -= 1
            frame = self.session.next_frame()
            if frame is not None:
                frames.append(frame)
                self.session.written()
        return frames


@pytest.mark.parametrize(
    ("sizes", "count"),
    [
        ([], 0),
        ([1, 1], 2),
        ([MAX_RESULT_BYTES + 1, 1], 1),
        ([MAX_RESULT_BYTES, 1], 1),
        ([1, MAX_RESULT_BYTES], 1),
        ([0] * (MAX_RESULTS_PER_FRAME + 1), MAX_RESULTS_PER_FRAME),
    ],
)
def test_a_frame_takes_what_fits_and_at_least_one(sizes: list[int], count: int) -> None:
    assert fitting([bytes(size) for size in sizes]) == count


def test_all_results_arrive_however_many_there_are() -> None:
    stream = Stream()
    plain, others = new_ids(MAX_RESULTS_PER_FRAME + 1), new_ids(MAX_RESULTS_PER_FRAME + 1)
    for run_id in plain:
        stream.session.push_result(run_id, b"result", None)
    for run_id in others:
        stream.session.push_result(run_id, None, pb.RunOutcome(run_id=run_id).SerializeToString())
    frames = stream.frames()
    assert [run_id for frame in frames for run_id in frame.results.run_ids] == plain
    assert [len(frame.results.data) for frame in frames] == [MAX_RESULTS_PER_FRAME, 1]
    assert [other.run_id for frame in frames for other in frame.results.others] == others


def test_all_logs_arrive_however_many_there_are() -> None:
    stream = Stream()
    for number in range(MAX_LOGS_PER_FRAME + 1):
        stream.session.push_log((bytes(16), number, 20, "logger", "message", "run"))
    numbers = [number for frame in stream.frames() for number in frame.logs.at_us]
    assert numbers == list(range(MAX_LOGS_PER_FRAME + 1))


@pytest.mark.parametrize(
    ("act", "field"),
    [
        (lambda session: session.request_cancel(b"f" * 16), "cancel_requests"),
        (lambda session: session.reconnect(500), "reconnect_after_ms"),
    ],
)
def test_a_request_is_sent_at_once_and_once(act: Callable[[ClientSession], None], field: str) -> None:
    stream = Stream()
    act(stream.session)
    assert stream.woken
    [frame] = stream.frames()
    assert getattr(frame, field)
    assert stream.session.next_frame() is None


@pytest.mark.parametrize(
    "act",
    [
        lambda session: session.push_result(new_id(), b"result", None),
        lambda session: session.push_result(new_id(), None, pb.RunOutcome().SerializeToString()),
        lambda session: session.decide(pb.FlowDecision(run_id=new_id())),
        lambda session: session.request_cancel(new_id()),
        lambda session: session.refuse(new_id(), TaskyardError("no")),
    ],
)
def test_a_new_stream_is_not_sent_what_was_meant_for_the_old_one(act: Callable[[Any], None]) -> None:
    stream = Stream()
    act(stream.session)
    stream.session.attach(stream.wake, close)
    assert stream.frames() == []


LOG = (bytes(16), 1, 20, "logger", "m" * 1000, "run")


def test_a_client_that_does_not_read_has_a_window_of_results_in_memory_and_is_owed_the_others() -> None:
    stream = Stream(Windows(MemoryLimits(pushed_results=10_000)))
    ids = new_ids(100)
    for run_id in ids:
        stream.session.push_result(run_id, bytes(1000), None)
    assert stream.session.next_owed()[0] == [], "nothing is read back while nothing was read"
    [frame] = stream.frames()
    assert list(frame.results.run_ids) == ids[:9]
    owed, number = stream.session.next_owed()
    assert owed == ids[9:18]
    assert stream.session.next_owed()[0] == [], "one batch at a time"
    stream.session.push_result(new_id(), bytes(1000), None)
    assert stream.session.next_frame() is None, "what is new stands behind what is owed"
    stream.session.paid(number, owed, {run_id: (bytes(1000), None) for run_id in owed})
    assert [list(frame.results.run_ids) for frame in stream.frames()] == [owed]


def test_what_was_read_back_for_a_stream_that_is_gone_is_not_sent_on_the_next() -> None:
    stream = Stream(Windows(MemoryLimits(pushed_results=1)))
    for run_id in new_ids(3):
        stream.session.push_result(run_id, b"result", None)
    stream.frames()
    owed, number = stream.session.next_owed()
    stream.session.attach(stream.wake, close)
    stream.session.paid(number, owed, dict.fromkeys(owed, (b"result", None)))
    assert stream.frames() == []


def test_a_result_that_is_owed_and_not_recorded_any_more_is_refused() -> None:
    stream = Stream(Windows(MemoryLimits(pushed_results=1)))
    for run_id in new_ids(2):
        stream.session.push_result(run_id, b"result", None)
    stream.frames()
    [owed], number = stream.session.next_owed()
    stream.session.paid(number, [owed], {})
    assert [refused.run_id for frame in stream.frames() for refused in frame.refused] == [owed]


def test_all_clients_together_have_one_window_which_those_who_leave_give_back() -> None:
    windows = Windows(MemoryLimits(pushed=5_000))
    streams = [Stream(windows) for _ in range(8)]
    for stream in streams:
        for run_id in new_ids(10):
            stream.session.push_result(run_id, bytes(900), None)
        stream.session.push_log(LOG)
    assert [len(stream.frames()[0].results.run_ids) for stream in streams] == [5, 1, 1, 1, 1, 1, 1, 1]
    for stream in streams:
        stream.session.lose_stream(1.0)
    assert windows.results.left == windows.logs.left == 5_000


def test_what_a_former_stream_still_writes_stays_counted_until_it_ends() -> None:
    windows = Windows()
    stream = Stream(windows)
    before, wake = windows.results.left, stream.session.wake
    stream.session.push_result(new_id(), bytes(1000), None)
    assert stream.session.next_frame() is not None  # and it is not written
    stream.session.attach(stream.wake.__func__, close)  # type: ignore[attr-defined]  # another stream
    assert windows.results.left < before
    stream.session.stream_ended(wake)
    assert windows.results.left == before


def test_log_records_beyond_the_window_are_dropped_and_the_client_is_told_once() -> None:
    stream = Stream(Windows(MemoryLimits(pushed_logs=3_500)))
    for _ in range(10):
        stream.session.push_log(LOG)
    first, second = stream.frames()
    assert len(first.logs.messages) == 3
    assert not first.dropped_logs
    assert second.dropped_logs == 7
    stream.session.push_log(LOG)
    [frame] = stream.frames()
    assert len(frame.logs.messages) == 1
    assert not frame.dropped_logs


def test_an_acknowledgement_is_never_taken_back() -> None:
    stream = Stream()
    stream.session.acknowledge(5)
    stream.session.acknowledge(3)
    assert [frame.submitted_up_to for frame in stream.frames()] == [5]
    assert stream.frames() == [], "and is said once"


def test_what_came_on_a_former_stream_is_not_acknowledged_on_a_new_one() -> None:
    stream = Stream()
    session = stream.session
    session.settle_batches(4, 1)
    session.refuse(new_id(), TaskyardError("no room"))
    session.lose_stream(1.0)
    session.attach(stream.wake, close)
    session.settle_batches(5, 1)  # its commit was under way
    assert stream.frames() == [], "the client would take what was refused for accepted"
    session.settle_batches(4, 2)  # resent
    assert [frame.submitted_up_to for frame in stream.frames()] == [4]


def test_a_result_comes_after_all_that_was_said_before_it() -> None:
    stream = Stream()
    for _ in range(5):
        stream.session.push_output((bytes(16), 0, 1, bytes(1_000_000), "run"))
    for _ in range(3 * MAX_LOGS_PER_FRAME):
        stream.session.push_log((bytes(16), 0, 20, "logger", "message", "run"))
    stream.session.push_result(new_id(), b"result", None)
    *said, last = stream.frames()
    assert len(said) == 4
    assert not any(frame.HasField("results") for frame in said), "its program may end when it has it"
    assert len(last.results.run_ids) == 1
    assert len(last.output.data) == 1


def test_who_talks_without_end_does_not_keep_results_for_ever() -> None:
    stream = Stream()
    stream.session.push_result(new_id(), b"result", None)
    frames = []
    for _ in range(MOST_HELD + 1):
        for _ in range(2):
            stream.session.push_output((bytes(16), 0, 1, bytes(1_000_000), "run"))
        frames.append(stream.session.next_frame())
        stream.session.written()
    assert [frame is not None and frame.HasField("results") for frame in frames].index(True) == MOST_HELD
