"""The parts of lanes without processes: board, reports, accounts of what is open, and how a lane ends."""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fake_workers import ToldSession

from taskyard_agent.holding.chunks import Chunk, Span
from taskyard_agent.holding.holdings import Holdings
from taskyard_agent.holding.templates import LocalTemplate
from taskyard_agent.processes import lane_endings
from taskyard_agent.processes.lane_handle import LaneHandle
from taskyard_agent.processes.lines import WorkerLines
from taskyard_agent.processes.terminating import Ending, Why
from taskyard_agent.processes.worker_phase import WorkerEvent
from taskyard_agent.runner import frames, lane_look, progress_board
from taskyard_agent.runner.blob_files import BlobFiles
from taskyard_agent.runner.lane import Lane, Opened
from taskyard_agent.runner.lane_board import AWAITS, LaneBoard, LaneBoardReader
from taskyard_agent.runner.lane_link import EndedRun, LaneLink
from taskyard_agent.runner.report_columns import Outcome, Packer
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import template_pb2
from taskyard_contract.assignments.chunk import Chunk as RunChunk
from taskyard_contract.blobs.directory import BlobDirectory
from taskyard_contract.id_factory import new_ids
from taskyard_contract.states import StateReason

PICKLED = template_pb2.RunTemplate(name="pickled", encoding="python/pickle5")
PLAIN = template_pb2.RunTemplate(name="plain", encoding="json/plain")


class Lines:
    """Both ends of a lane's lines."""

    def __init__(self, path: Path) -> None:
        lines = WorkerLines()
        self.lines = lines
        self.slots = LaneBoard(lines.far_board)
        self.board = progress_board.BoardWriter(lines.far_board)
        BlobDirectory(path).make()
        self.link = LaneLink(
            lines.far_data, lines.far_control, self.board, Packer(BlobFiles(path)), self.slots
        )

    def told(self) -> list[tuple[int, bytes]]:
        return frames.FrameReader().feed(self.lines.data.recv(1 << 20))

    def close(self) -> None:
        self.lines.close_far()
        self.board.map.close()
        self.slots.map.close()
        self.lines.data.close()
        self.lines.control.close()
        self.lines.board.close()


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[Lines]:
    made = Lines(tmp_path)
    yield made
    made.close()


def test_a_slot_is_live_from_the_start_until_the_end_was_told(lines: Lines) -> None:
    reader = LaneBoardReader(lines.lines.board.page)
    assert (reader.live(), reader.beaten_ns()) == ([], 0)
    first = lines.slots.take(7, 0, 10)
    second = lines.slots.take(7, 1, 20)
    assert [one[:3] for one in reader.live()] == [(7, 0, 10), (7, 1, 20)]
    lines.slots.give_back(first)
    assert [one[:3] for one in reader.live()] == [(7, 1, 20)]
    assert lines.slots.take(8, 0, 30) == first, "slots are used from the front"
    lines.slots.beat(40)
    assert reader.beaten_ns() == 40
    assert second != first


def test_a_word_counts_and_a_run_that_awaits_others_is_never_silent(lines: Lines) -> None:
    reader = LaneBoardReader(lines.lines.board.page)
    slot = lines.slots.take(1, 0, 1_000_000_000)
    assert reader.live()[0].silent_seconds(3_000_000_000) == 2
    assert not reader.live()[0].begun
    lines.slots.heard(slot, 2_000_000_000)
    assert reader.live()[0].silent_seconds(3_000_000_000) == 1
    assert reader.live()[0].begun
    assert reader.live()[0].seconds(3_000_000_000) == 2
    lines.slots.heard(slot, AWAITS)
    assert reader.live()[0].silent_seconds(3_000_000_000) < 0


def test_more_slots_than_one_page_are_read(lines: Lines) -> None:
    for position in range(5_000):
        lines.slots.take(1, position, 1)
    assert len(LaneBoardReader(lines.lines.board.page).live()) == 5_000


def ended(
    lines: Lines,
    number: int,
    position: int,
    outcome: Outcome | None,
    template: template_pb2.RunTemplate = PLAIN,
) -> None:
    slot = lines.slots.take(number, position, 1_000 * (position + 1))
    placed = None if outcome is None else lines.link.place(outcome, template, bytes(15) + b"%d" % number, 1)
    lines.link.over.append(
        EndedRun(number, position, template, slot, placed, 1_000 * (position + 1), 9_000_000)
    )


def reports(told: list[tuple[int, bytes]]) -> list[tuple[int, int, list[bytes]]]:
    found = []
    for kind, body in told:
        if kind == frames.REPORT:
            number, start, count, _, _ = frames.REPORT_HEAD.unpack_from(body)
            columns = pb.ReportColumns.FromString(body[frames.REPORT_HEAD.size :])
            assert len(columns.results) == len(columns.started_us) == count
            found.append((number, start, list(columns.results)))
    return found


def test_runs_that_follow_one_another_are_one_report_in_whatever_order_they_ended(lines: Lines) -> None:
    for position in (2, 0, 4, 1):
        ended(lines, 1, position, b"r%d" % position)
    ended(lines, 2, 0, b"other")
    lines.link.flush()
    assert reports(lines.told()) == [(1, 0, [b"r0", b"r1", b"r2"]), (1, 4, [b"r4"]), (2, 0, [b"other"])]


def test_slots_are_free_only_after_the_report(lines: Lines) -> None:
    reader = LaneBoardReader(lines.lines.board.page)
    ended(lines, 1, 0, b"r")
    lines.link.give_back_slots()
    assert len(reader.live()) == 1
    lines.link.flush()
    lines.link.give_back_slots()
    assert reader.live() == []


def test_each_report_is_in_the_encoding_of_its_own_template(lines: Lines) -> None:
    lines.link._packer.max_inline = 4
    ended(lines, 1, 0, b"long one", PLAIN)
    ended(lines, 2, 0, b"long one", PICKLED)
    lines.link.flush()
    encodings = []
    for _, body in lines.told():
        blobs = frames.REPORT_HEAD.unpack_from(body)[4]
        columns = body[frames.REPORT_HEAD.size + blobs * frames.BLOB_ENTRY.size :]
        encodings.append(pb.ReportColumns.FromString(columns).exceptions[0].result.encoding)
    assert encodings == ["json/plain", "python/pickle5"]


def test_a_cancelled_run_is_told_as_stopped(lines: Lines) -> None:
    ended(lines, 3, 5, None)
    lines.link.flush()
    assert lines.told() == [(frames.STOPPED, frames.STOPPED_BODY.pack(3, 5))]


def test_how_many_wait_is_told_when_it_has_changed(lines: Lines) -> None:
    lines.link.awaits(1)
    lines.link.awaits(1)
    assert lines.link.has_news
    lines.link.flush()
    assert lines.told() == [(frames.AWAITING, frames.AWAITING_BODY.pack(2))]
    assert not lines.link.has_news
    lines.link.awaits(1)
    lines.link.awaits(-1)
    assert not lines.link.has_news


def test_a_chunk_is_begun_or_taken_back_as_a_whole(lines: Lines) -> None:
    assert lines.link.begins(1)
    lines.link.on_control(frames.REVOKE.pack(1))
    lines.link.on_control(frames.REVOKE.pack(2))
    answers = [frames.REVOKED.unpack(lines.lines.control.recv(64)) for _ in range(2)]
    assert answers == [(1, frames.NOTHING_REVOKED), (2, 0)]
    assert not lines.link.begins(2)
    assert lines.link.begins(3)


def test_the_newest_word_of_each_run_is_sent_before_its_end(lines: Lines) -> None:
    run_ids = new_ids(2)
    for at in range(3):
        for run_id in run_ids:
            lines.link.heartbeat(pb.RunProgress(key=pb.RunKey(run_id=run_id), at_us=at))
    ended(lines, 1, 0, b"r")
    lines.link.flush()
    told = lines.told()
    words = [pb.RunProgress.FromString(body) for kind, body in told if kind == frames.PROGRESS]
    assert [(word.key.run_id, word.at_us) for word in words] == [(run_id, 2) for run_id in run_ids]
    assert [kind for kind, _ in told][-1] == frames.REPORT


# The agent's side.


def begin(lines: Lines, number: int, position: int) -> None:
    lines.slots.heard(lines.slots.take(number, position, 5), 5)


class Known:
    """A lane that has spans, and the account of their runs."""

    def __init__(self, lines: Lines, *sizes: int, timeout: float = 0.0) -> None:
        self.told = ToldSession()
        self.holdings = Holdings()
        self.holdings.session = self.told  # type: ignore[assignment]
        definition = template_pb2.TemplateDefinition(index=1)
        definition.template.coroutine = True
        definition.template.timeout_ms = round(timeout * 1000)
        self.template = LocalTemplate(1, definition)
        self.lane = LaneHandle(1, lines.lines, None, None, False)
        self.lane.apply(WorkerEvent.READY)
        self.lane.send = lambda data: True  # type: ignore[method-assign]
        self.ids: list[list[bytes]] = []
        for number, size in enumerate(sizes, 1):
            ids = new_ids(size)
            chunk = Chunk(self.template, 100 * number, b"".join(ids), b"")
            chunk.in_lane = True
            self.ids.append(ids)
            self.lane.give(number, self.holdings.accept(chunk))

    def settle(self, status: int | None = 9) -> tuple[list[Span], list[bytes]]:
        suspects: list[bytes] = []
        rest = lane_endings.settle(
            self.holdings, self.lane, status, lambda span: suspects.append(span.chunk.ids_of(span.start, 1))
        )
        return rest, suspects


def numbers(spans: list[Span]) -> list[tuple[int, int]]:
    return [(span.start, span.stop) for span in spans]


def test_runs_end_in_any_order(lines: Lines) -> None:
    known = Known(lines, 5)
    lane = known.lane
    assert (lane.runs(), known.holdings.in_lanes, known.holdings.coroutines) == (5, 5, 5)
    for start, stop in ((3, 4), (0, 2)):
        span = lane.reported(1, start, stop)
        assert span is not None
        known.holdings.report(span, b"")
    assert (lane.runs(), known.holdings.in_lanes, known.told.reported[0]) == (2, 2, known.ids[0][3])
    assert lane.reported(1, 3, 4) is None, "told before"
    assert lane.reported(1, 2, 4) is None, "one of these was"
    assert [lane.is_open(1, at) for at in range(5)] == [False, False, True, False, True]
    assert lane.find(known.holdings._open.__iter__().__next__().key(0)) is None
    assert numbers(lane.surrender()) == [(2, 3), (4, 5)]
    assert lane.runs() == 0


def test_runs_that_await_others_take_no_room(lines: Lines) -> None:
    lane = Known(lines, 5).lane
    lane.awaiting = 3
    assert (lane.runs(), lane.active) == (5, 2)


def test_a_span_that_has_not_begun_comes_back_whole(lines: Lines) -> None:
    known = Known(lines, 3, 2)
    assert known.lane.took_back(1, frames.NOTHING_REVOKED) is None
    span = known.lane.took_back(2, 0)
    assert span is not None
    assert (numbers([span]), known.lane.runs()) == ([(0, 2)], 3)


def test_a_run_that_was_to_end_does_not_begin_after_it_was_taken_back(lines: Lines) -> None:
    known = Known(lines, 2)
    known.lane.stopping[1, 1] = (0.0, True)
    span = known.lane.took_back(1, 0)
    assert span is not None
    assert numbers(known.holdings.sift(span)) == [(0, 1)]
    assert known.told.ended_runs == [known.ids[0][1]]


def test_a_lane_that_died_loses_what_was_live_and_all_of_it_is_suspected(lines: Lines) -> None:
    known = Known(lines, 3, 2)
    for position in range(2):
        begin(lines, 1, position)
    known.lane.reported(1, 0, 1)
    known.holdings.report(Span(next(iter(known.holdings._open)), 0, 1), b"")
    begin(lines, 2, 0)
    rest, suspects = known.settle()
    assert known.told.lost_runs == [known.ids[0][1], known.ids[1][0]] == suspects
    assert set(known.told.reasons) == {StateReason.WORKER_DIED}
    assert numbers(rest) == [(2, 3), (1, 2)], "what had not begun is begun elsewhere"


def test_who_was_alone_is_not_suspected_but_known(lines: Lines) -> None:
    known = Known(lines, 1)
    begin(lines, 1, 0)
    rest, suspects = known.settle()
    assert (known.told.lost_runs, rest, suspects) == (known.ids[0], [], [])


@pytest.mark.parametrize(
    ("why", "reason"), [(Why.TIMED_OUT, StateReason.TIMED_OUT), (Why.SILENT, StateReason.TIMED_OUT)]
)
def test_only_the_run_on_whose_account_a_lane_was_ended_pays(
    lines: Lines, why: Why, reason: StateReason
) -> None:
    known = Known(lines, 3, timeout=1)
    for position in range(3):
        begin(lines, 1, position)
    known.lane.ending = Ending(why, pb.RunKey(run_id=known.ids[0][1], epoch=101))
    _, suspects = known.settle()
    assert dict(zip(known.told.lost_runs, known.told.reasons, strict=True)) == {
        known.ids[0][0]: StateReason.WORKER_DIED,
        known.ids[0][1]: reason,
        known.ids[0][2]: StateReason.WORKER_DIED,
    }
    assert suspects == []


def test_a_run_that_would_not_end_is_cancelled_with_its_process(lines: Lines) -> None:
    known = Known(lines, 3)
    for position in range(3):
        begin(lines, 1, position)
    known.lane.stopping = {(1, 0): (0.0, True), (1, 1): (0.0, False)}
    known.lane.ending = Ending(Why.CANCELLED, pb.RunKey(run_id=known.ids[0][0], epoch=100))
    known.settle()
    assert known.told.ended_runs == [known.ids[0][0]]
    assert known.told.lost_runs == [known.ids[0][2]], "the second one was dropped: nobody is to hear of it"
    assert known.holdings.runs == 0


@pytest.mark.parametrize(
    ("why", "reason"), [(Why.LEASE_LOST, StateReason.AGENT_LOST), (Why.STOPPED, StateReason.WORKER_DIED)]
)
def test_all_that_is_live_ends_with_the_lease_or_the_agent(
    lines: Lines, why: Why, reason: StateReason
) -> None:
    known = Known(lines, 2, timeout=1)
    for position in range(2):
        begin(lines, 1, position)
    known.lane.ending = Ending(why, pb.RunKey(run_id=known.ids[0][0], epoch=100))
    known.settle()
    assert (known.told.lost_runs, set(known.told.reasons)) == (known.ids[0], {reason})


def test_lateness_counts_from_when_there_was_something_to_do(lines: Lines) -> None:
    lane = Known(lines, 1).lane
    lines.slots.beat(1_000)
    lane.busy_since_ns = 5_000_000_000
    assert lane.late_seconds(6_000_000_000) == 1, "a lane without runs need not go round"
    lines.slots.beat(5_900_000_000)
    assert lane.late_seconds(6_000_000_000) == pytest.approx(0.1)


def test_the_place_that_keeps_a_loop_is_the_users() -> None:
    place = lane_look.place_of(sys._getframe())
    assert place.startswith(__file__)
    assert place.endswith("in test_the_place_that_keeps_a_loop_is_the_users")
    words = lane_look.words_for(place, sure=True)
    assert place in words
    assert "asyncio.to_thread" in words
    assert "or another one" in lane_look.words_for(place, sure=False)


class Desk:
    """A worker whose chunks have one run each, which ends at once."""

    def take(self, kind: int, body: bytes) -> None:
        """Know no other frames."""

    def open(self, kind: int, frame: bytes, restore: bool = True) -> Opened:
        (number,) = frames.REVOKE.unpack_from(frame)
        message = template_pb2.RunTemplate(name="task", encoding="python/pickle5")
        body = pb.ChunkBody(args=[b""], ordinals=[0])
        return Opened(number, 0, 1, RunChunk(1, b"i" * 16, message, body, BlobFiles(None)), self)  # type: ignore[arg-type]

    async def execute_async(self, invocation: object, host: object) -> bytes:
        return b""

    def say_changes(self, run: object, link: object) -> None:
        """Nothing is changed."""


def test_a_cancellation_of_what_comes_later_is_kept_when_something_else_comes_first(lines: Lines) -> None:
    lane = Lane(Desk(), lines.link, lines.slots, lines.lines.far_data)
    lane._cancel(2, 0)
    for number in (1, 2, 3):
        lane._begin(frames.CHUNK, frames.REVOKE.pack(number))
    runs = dict(lane._runs)
    assert [runs[number, 0].cancelled for number in (1, 2, 3)] == [False, True, False]
    assert not lane._unwanted
    lane.loop.run_until_complete(asyncio.wait([run.task for run in runs.values()]))
    lane.loop.close()
