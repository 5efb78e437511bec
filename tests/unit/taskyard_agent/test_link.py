"""The worker's end of its link: order, logs, and runs taken back."""

import errno
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskyard_agent.runner import frames, progress_board
from taskyard_agent.runner.blob_files import BlobFiles
from taskyard_agent.runner.link import Link
from taskyard_agent.runner.report_columns import Lacking, Packer
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import session_service_pb2
from taskyard_contract.blobs.directory import BlobDirectory
from taskyard_contract.blobs.names import checksum_of, result_name


class Ends:
    def __init__(self, path: Path) -> None:
        self.data, far_data = socket.socketpair()
        self.control, self.far_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        descriptor = progress_board.create()
        self.board = progress_board.BoardReader(descriptor)
        self.writer = progress_board.BoardWriter(descriptor)
        os.close(descriptor)
        self.far_data = far_data
        self.link = Link(far_data, self.far_control, self.writer, Packer(BlobFiles(path)))
        self._reader = frames.FrameReader()

    def received(self) -> list[tuple[int, bytes]]:
        self.data.setblocking(False)
        try:
            return self._reader.feed(self.data.recv(frames.READ_BYTES))
        except BlockingIOError:
            return []

    def ask(self, number: int) -> tuple[int, int]:
        """Ask for a chunk back, as the agent does, and serve the request."""
        self.control.send(frames.REVOKE.pack(number))
        self.control.shutdown(socket.SHUT_WR)
        self.link.serve_control()
        answer: tuple[int, int] = frames.REVOKED.unpack(self.control.recv(frames.REVOKED.size))
        return answer

    def close(self) -> None:
        for end in (self.data, self.far_data, self.control, self.far_control):
            end.close()
        self.board.close()
        self.writer.map.close()


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    made = Ends(tmp_path)
    yield made
    made.close()


def reports(received: list[tuple[int, bytes]]) -> list[tuple[int, int, int]]:
    return [frames.REPORT_HEAD.unpack_from(body)[:3] for kind, body in received if kind == frames.REPORT]


def test_reports_are_consecutive_ranges(ends: Ends) -> None:
    link = ends.link
    link.begin(7, 2, 6)
    link.ended.extend([(b"a", 0, 0), (b"b", 0, 0)])
    link.flush()
    link.flush()
    link.ended.append((b"c", 0, 0))
    link.flush()
    assert reports(ends.received()) == [(7, 2, 2), (7, 4, 1)]


def test_log_records_are_sent_before_results(ends: Ends) -> None:
    ends.link.begin(1, 0, 1)
    ends.link.log((b"r" * 16, 5, 20, "tests", "hello \ud800", "t-4"))
    assert ends.board.read().logs == 1
    ends.link.ended.append((b"a", 0, 0))
    ends.link.flush()
    (log_kind, batch), (report_kind, _) = ends.received()
    assert (log_kind, report_kind) == (frames.LOGS, frames.REPORT)
    logs = session_service_pb2.LogBatch.FromString(batch)
    assert (list(logs.run_names), list(logs.messages)) == (["t-4"], ["hello \\ud800"])
    assert ends.board.read().logs == 0


def test_the_unstarted_tail_is_taken_back(ends: Ends) -> None:
    positions = ends.link.begin(3, 0, 5)
    assert positions is not None
    assert positions.popleft() == 1
    assert ends.ask(3) == (3, 2)
    assert not positions


def test_the_first_run_of_a_chunk_has_started_with_it(ends: Ends) -> None:
    """Its code may take long to load, and the board says that it executes."""
    positions = ends.link.begin(3, 2, 5)
    assert ends.ask(3) == (3, 3)
    assert not positions


def test_a_chunk_that_has_not_been_read_is_taken_back_whole(ends: Ends) -> None:
    ends.link.begin(3, 0, 1)
    assert ends.ask(4) == (4, 0)
    assert ends.link.begin(4, 0, 9) is None
    assert list(ends.link.begin(5, 0, 3) or ()) == [1, 2]


def test_nothing_is_taken_back_of_a_chunk_that_is_done(ends: Ends) -> None:
    ends.link.begin(3, 0, 1)
    ends.link.begin(4, 0, 1)
    assert ends.ask(3) == (3, frames.NOTHING_REVOKED)


def test_what_has_ended_is_sent_before_a_run_waits(ends: Ends) -> None:
    ends.link.begin(1, 0, 2)
    ends.link.ended.append((b"a", 0, 0))
    with ends.link.blocked(), ends.link.blocked():
        pass
    assert [kind for kind, _ in ends.received()] == [frames.REPORT, frames.BLOCKED, frames.UNBLOCKED]


def test_the_board_tells_what_executes(ends: Ends) -> None:
    assert ends.board.read().started_ns == 0
    progress_board.note_run(ends.writer.map, 0, 9, 4, 123)
    assert ends.board.read()[:3] == (9, 4, 123)
    ends.writer.idle()
    assert ends.board.read()[:3] == (0, 0, 0)


def test_results_of_later_runs_are_never_taken_for_those_of_a_report_that_was_interrupted(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = ends.link
    link.begin(7, 0, 3)
    link.ended.append((b"a", 0, 0))
    with monkeypatch.context() as patched:
        patched.setattr(Packer, "pack", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            link.flush()
    link.ended.append((b"b", 0, 0))
    link.flush()
    assert reports(ends.received()) == []
    assert link.torn


def test_a_run_does_not_wait_for_others_when_the_agent_cannot_be_told(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends.link.begin(7, 0, 3)
    ends.link.ended.append((b"a", 0, 0))
    with monkeypatch.context() as patched:
        patched.setattr(Packer, "pack", _interrupted)
        with pytest.raises(KeyboardInterrupt), ends.link.blocked():
            pass
    with pytest.raises(ConnectionAbortedError), ends.link.blocked():
        pass


def test_a_wait_that_could_not_begin_does_not_keep_the_next_one_silent(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Link, "flush", _interrupted)
        with pytest.raises(KeyboardInterrupt), ends.link.blocked():
            pass
    with ends.link.blocked():
        pass
    assert [kind for kind, _ in ends.received()] == [frames.BLOCKED, frames.UNBLOCKED]


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_report_is_a_readable_message(ends: Ends) -> None:
    ends.link.begin(1, 0, 1)
    ends.link.ended.append((b"value", 0, 3000))
    ends.link.flush()
    ((_, body),) = ends.received()
    assert pb.ReportColumns.FromString(body[frames.REPORT_HEAD.size :]).results[0] == b"value"


def test_a_result_without_room_is_told_of_apart_and_the_others_as_always(ends: Ends, tmp_path: Path) -> None:
    link = ends.link
    link.begin(3, 0, 6)
    lacking = Lacking(500_000, os.strerror(errno.ENOSPC))
    files = BlobDirectory(tmp_path)
    files.make()
    stored = link._packer.place(b"y" * 100_000, b"r" * 16, 3)
    outcomes = [b"a", lacking, b"b", stored, lacking, b"c"]
    link.ended.extend([(outcome, 0, 0) for outcome in outcomes])
    link.flush()
    received = ends.received()
    assert reports(received) == [(3, 0, 1), (3, 2, 2), (3, 5, 1)]
    unstored = [body for kind, body in received if kind == frames.UNSTORED]
    assert [frames.UNSTORED_HEAD.unpack_from(body) for body in unstored] == [(3, 1, 500_000), (3, 4, 500_000)]
    assert unstored[0][frames.UNSTORED_HEAD.size :].decode() == lacking.reason
    assert [kind for kind, _ in received] == [
        frames.REPORT, frames.UNSTORED, frames.REPORT, frames.UNSTORED, frames.REPORT
    ]  # fmt: skip
    assert not link.torn
    with_blob = received[2][1]
    assert frames.REPORT_HEAD.unpack_from(with_blob)[4] == 1
    name, size, checksum = frames.BLOB_ENTRY.unpack_from(with_blob, frames.REPORT_HEAD.size)
    assert (name.rstrip(b"\0").decode(), size) == (result_name(b"r" * 16, 3), 100_000)
    assert checksum == checksum_of([files.path(result_name(b"r" * 16, 3)).read_bytes()])


def word(run_id: bytes, at: int) -> pb.RunProgress:
    return pb.RunProgress(key=pb.RunKey(run_id=run_id, epoch=1), at_us=at)


def words(received: list[tuple[int, bytes]]) -> list[int]:
    return [pb.RunProgress.FromString(body).at_us for kind, body in received if kind == frames.PROGRESS]


def test_of_many_words_of_progress_the_newest_is_sent_and_never_after_the_end(ends: Ends) -> None:
    link = ends.link
    link.begin(1, 0, 1)
    link._progress_ns = time.monotonic_ns() + 10**12  # nothing is due for a long time
    assert ends.board.read().heartbeat_ns == 0
    for at in (1, 2, 3):
        link.heartbeat(word(b"r" * 16, at))
    assert ends.board.read().heartbeat_ns > 0, "the agent sees it at once"
    assert ends.board.read().logs == 1, "and asks for it"
    link.flush()
    assert words(ends.received()) == [], "it has been told to wait"
    link.ended.append((b"a", 0, 0))
    link.flush()
    received = ends.received()
    assert words(received) == [3]
    assert [kind for kind, _ in received] == [frames.PROGRESS, frames.REPORT]
    assert ends.board.read().logs == 0


def test_a_word_of_progress_is_sent_at_once_when_none_was_of_late(ends: Ends) -> None:
    ends.link.begin(1, 0, 1)
    ends.link.heartbeat(word(b"r" * 16, 1))
    assert words(ends.received()) == [1]


def test_to_have_waited_for_others_counts_as_a_word(ends: Ends) -> None:
    ends.link.begin(1, 0, 1)
    with ends.link.blocked():
        assert ends.board.read().heartbeat_ns == 0
    assert ends.board.read().heartbeat_ns > 0
