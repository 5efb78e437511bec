"""A worker in the process of the test: how it puts results together."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskyard_agent.runner import frames, progress_board
from taskyard_agent.runner.worker import FLUSH_BYTES, Worker
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import common_pb2, template_pb2
from taskyard_contract import pickling
from taskyard_contract.blobs.directory import BlobDirectory
from taskyard_contract.blobs.names import sha256_name
from taskyard_contract.execution import Invocation, WorkerHost
from taskyard_contract.payload_limits import MAX_INLINE_BYTES

RUNS = 256
"""As many as a chunk has at most."""


class NamedResults:
    """Reports large values as those runs do whose name was rendered: not as plain results."""

    def execute(self, invocation: Invocation, host: WorkerHost) -> pb.ReportException:
        report = pb.ReportException(kind=pb.REPORT_KIND_SUCCEEDED, run_name="named")
        report.result.data = b"x" * MAX_INLINE_BYTES
        return report


LOADING_SECONDS = 0.2


def load_slowly() -> NamedResults:
    """Take a while, as imports do."""
    time.sleep(LOADING_SECONDS)
    return NamedResults()


class SlowToLoad:
    """Code whose modules take a while to import."""

    def __reduce__(self) -> tuple[Callable[[], NamedResults], tuple[()]]:
        return load_slowly, ()


class Ends:
    """A worker, the other end of its data socket, and what comes out there."""

    def __init__(self, path: Path) -> None:
        self.data, self._far_data = socket.socketpair()
        self._control, self._far_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        board = progress_board.create()
        self._worker = Worker(self._far_data, self._far_control, board, path)
        os.close(board)
        self.reports: list[bytes] = []
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        reader = frames.FrameReader()
        while data := self.data.recv(frames.READ_BYTES):
            self.reports += [bytes(body) for kind, body in reader.feed(data) if kind == frames.REPORT]

    @property
    def sizes(self) -> list[int]:
        return [len(body) for body in self.reports]

    def serve(self, *sent: bytes) -> None:
        """Have the worker take frames, and everything it says read."""
        for one in sent:
            ((kind, body),) = frames.FrameReader().feed(one)
            self._worker._on_frame(kind, body)
        self._far_data.shutdown(socket.SHUT_WR)
        self._reading.join()

    def close(self) -> None:
        for end in (self._far_data, self.data, self._control, self._far_control):
            end.close()
        self._reading.join()
        self._worker._board.map.close()


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    made = Ends(tmp_path)
    yield made
    made.close()


def test_a_report_stays_small_however_its_results_are_told(ends: Ends) -> None:
    definition = template_pb2.TemplateDefinition(index=1, code=pickling.dumps_by_value(NamedResults()))
    definition.template.code.blob_digest = b"d" * 32
    body = pb.ChunkBody(args=[b""] * RUNS, ordinals=range(RUNS)).SerializeToString()
    head = frames.CHUNK_HEAD.pack(1, 1, 1, 0, RUNS, 16 * RUNS)
    ends.serve(
        frames.pack(frames.TEMPLATE, frames.TEMPLATE_HEAD.pack(1), definition.SerializeToString()),
        frames.pack(frames.CHUNK, head, b"i" * 16 * RUNS, body),
    )
    assert sum(ends.sizes) > RUNS * MAX_INLINE_BYTES
    assert max(ends.sizes) < FLUSH_BYTES + 2 * MAX_INLINE_BYTES


def test_a_chunk_whose_body_is_a_file_is_read_from_there(ends: Ends, tmp_path: Path) -> None:
    definition = template_pb2.TemplateDefinition(index=1, code=pickling.dumps_by_value(NamedResults()))
    definition.template.code.blob_digest = b"d" * 32
    body = pb.ChunkBody(args=[b""]).SerializeToString() + pb.ChunkBody(ordinals=[7]).SerializeToString()
    name = sha256_name(b"b" * 32)
    store = BlobDirectory(tmp_path)
    store.make()
    store.add(name, [body], len(body))
    ends.serve(
        frames.pack(frames.TEMPLATE, frames.TEMPLATE_HEAD.pack(1), definition.SerializeToString()),
        frames.pack(
            frames.CHUNK_IN_FILE,
            frames.CHUNK_HEAD.pack(1, 1, 1, 0, 1, 16),
            b"i" * 16,
            frames.entry(common_pb2.BlobRef(name=name, size=len(body))),
        ),
    )
    assert len(ends.sizes) >= 1


def test_no_run_has_ended_later_than_now_however_long_its_code_took_to_load(ends: Ends) -> None:
    definition = template_pb2.TemplateDefinition(index=1, code=pickling.dumps_by_value(SlowToLoad()))
    definition.template.code.blob_digest = b"d" * 32
    body = pb.ChunkBody(args=[b""], ordinals=[0]).SerializeToString()
    begun_us = time.time_ns() // 1000
    ends.serve(
        frames.pack(frames.TEMPLATE, frames.TEMPLATE_HEAD.pack(1), definition.SerializeToString()),
        frames.pack(frames.CHUNK, frames.CHUNK_HEAD.pack(1, 1, 1, 0, 1, 16), b"i" * 16, body),
    )
    now_us = time.time_ns() // 1000
    [report] = ends.reports
    columns = pb.ReportColumns.FromString(report[frames.REPORT_HEAD.size :])
    started_us = columns.base_us + columns.started_us[0]
    assert begun_us <= started_us <= started_us + columns.durations_us[0] <= now_us + LOADING_SECONDS * 1e5
    assert now_us - begun_us >= LOADING_SECONDS * 1e6  # otherwise it shows nothing
