"""What a process that a task has forked may tell the agent in the worker's name."""

import os
import socket
import struct
from pathlib import Path

from taskyard_agent.runner import frames, progress_board
from taskyard_agent.runner.blob_files import BlobFiles
from taskyard_agent.runner.link import Link
from taskyard_agent.runner.report_columns import Packer


def test_a_forked_child_of_a_run_reports_nothing_again(tmp_path: Path) -> None:
    data, far_data = socket.socketpair()
    control, far_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    descriptor = progress_board.create()
    writer = progress_board.BoardWriter(descriptor)
    os.close(descriptor)
    link = Link(far_data, far_control, writer, Packer(BlobFiles(tmp_path)))
    link.begin(7, 0, 2)
    link.ended.append((b"a", 0, 0))
    pid = os.fork()
    if pid == 0:
        with link.blocked():
            pass
        os._exit(0)
    os.waitpid(pid, 0)
    link.flush()
    (said,) = struct.unpack_from("<Q", writer.map, progress_board._HEARTBEAT_AT)
    received = frames.FrameReader().feed(data.recv(frames.READ_BYTES))
    reports = [kind for kind, _ in received if kind == frames.REPORT]
    for end in (data, far_data, control, far_control):
        end.close()
    writer.map.close()
    assert len(reports) == 1
    assert said > 0, "its waiting was no silence of the run"


def test_a_forked_child_that_waits_for_runs_gives_its_slot_away(tmp_path: Path) -> None:
    data, far_data = socket.socketpair()
    control, far_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    descriptor = progress_board.create()
    writer = progress_board.BoardWriter(descriptor)
    os.close(descriptor)
    link = Link(far_data, far_control, writer, Packer(BlobFiles(tmp_path)))
    pid = os.fork()
    if pid == 0:
        with link.blocked():
            os._exit(0)
    os.waitpid(pid, 0)
    data.setblocking(False)
    try:
        received = [kind for kind, _ in frames.FrameReader().feed(data.recv(frames.READ_BYTES))]
    except BlockingIOError:
        received = []
    for end in (data, far_data, control, far_control):
        end.close()
    writer.map.close()
    assert received == [frames.BLOCKED]
