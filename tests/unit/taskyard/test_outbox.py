"""Runs become groups, groups become frames, in the order in which they were submitted."""

import threading

import pytest

from taskyard._network.session.outbox import RUNS_PER_FRAME, Block, Cancel, Outbox, cancels_of
from taskyard._network.session.templates import Template
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_api.v1 import template_pb2
from taskyard_contract.id_factory import new_id, new_ids
from taskyard_contract.states import UpstreamKind

FLOW = new_id()


def template(name: str = "t") -> Template:
    return Template(template_pb2.RunTemplate(name=name))


def add(outbox: Outbox, of: Template, ordinal: int, **rest: object) -> bytes:
    run_id = new_id()
    outbox.add_run(of, FLOW, b"", run_id, b"a", ordinal, **rest)  # type: ignore[arg-type]
    return run_id


def test_consecutive_runs_of_one_template_share_a_block() -> None:
    outbox, one = Outbox(), template()
    ids = [add(outbox, one, ordinal) for ordinal in range(3)]
    blocks, reports, cancels, _ = outbox.take(with_blocks=True)
    assert [block.run_ids for block in blocks] == [ids]
    assert (reports, cancels) == ([], [])


def test_another_template_flow_run_or_a_gap_in_ordinals_begins_a_block() -> None:
    outbox, one, two = Outbox(), template("1"), template("2")
    add(outbox, one, 0)
    add(outbox, two, 0)
    add(outbox, two, 5)
    outbox.add_run(two, new_id(), b"", new_id(), b"", 6)
    blocks, _, _, _ = outbox.take(with_blocks=True)
    assert [len(block.run_ids) for block in blocks] == [1, 1, 1, 1]
    assert [block.first_ordinal for block in blocks] == [0, 0, 5, 6]


def test_a_frame_holds_at_most_so_many_runs() -> None:
    outbox, one = Outbox(), template()
    for ordinal in range(RUNS_PER_FRAME + 1):
        add(outbox, one, ordinal)
    first, _, _, _ = outbox.take(with_blocks=True)
    second, _, _, _ = outbox.take(with_blocks=True)
    assert [sum(len(b.run_ids) for b in blocks) for blocks in (first, second)] == [RUNS_PER_FRAME, 1]


def test_a_taken_block_is_not_extended() -> None:
    outbox, one = Outbox(), template()
    add(outbox, one, 0)
    (taken,), *_ = outbox.take(with_blocks=True)
    add(outbox, one, 1)
    assert len(taken.run_ids) == 1


def test_nothing_overtakes_runs_that_have_to_wait() -> None:
    outbox, one = Outbox(), template()
    run_id = add(outbox, one, 0)
    outbox.add(Cancel([run_id]))
    outbox.add(pb.FlowReport(run_id=FLOW))
    assert outbox.take(with_blocks=False) == ([], [], [], [])
    blocks, reports, cancels, _ = outbox.take(with_blocks=True)
    assert (len(blocks), len(reports), cancels) == (1, 1, [run_id])


def test_a_group_has_only_the_columns_that_are_used() -> None:
    block = Block(template(), FLOW, b"", 7)
    block.add(new_id(), b"", None, None, None)
    group = block.to_group(3)
    assert (group.template, group.first_ordinal, len(group.run_ids)) == (3, 7, 1)
    assert not group.args
    assert not group.cache_keys
    assert not group.upstream_ids


def test_a_group_names_positions_of_upstream_edges_extras_and_cache_keys() -> None:
    upstream = new_id()
    block = Block(template(), FLOW, b"", 0)
    block.add(new_id(), b"1", None, None, None)
    block.add(new_id(), b"2", {upstream: UpstreamKind.ORDER}, "key", pb.RunExtra(name="chosen"))
    block.add(new_id(), b"3", None, None, None)
    group = block.to_group(1)
    assert list(group.upstream_positions) == [1]
    assert list(group.upstream_ids) == [upstream]
    assert list(group.upstream_kinds) == [UpstreamKind.ORDER]
    assert list(group.cache_keys) == ["", "key", ""]
    assert [(extra.position, extra.name) for extra in group.extras] == [(1, "chosen")]


def test_parts_with_keeps_what_belongs_to_the_chosen_runs() -> None:
    ids, upstream = new_ids(4), new_id()
    block = Block(template(), FLOW, b"", 10)
    for position, run_id in enumerate(ids):
        edges = {upstream: int(UpstreamKind.DATA)} if position == 3 else None
        extra = pb.RunExtra(name=str(position)) if position else None
        block.add(run_id, bytes([position]), edges, f"k{position}", extra)
    parts = block.parts_with({ids[0], ids[2], ids[3]})
    assert [(part.first_ordinal, part.run_ids) for part in parts] == [(10, [ids[0]]), (12, ids[2:])]
    assert parts[1].upstream == [(1, upstream, UpstreamKind.DATA)]
    assert parts[1].cache_keys == ["k2", "k3"]
    assert [(extra.position, extra.name) for extra in parts[1].extras] == [(0, "2"), (1, "3")]


def test_put_back_blocks_are_taken_first() -> None:
    outbox, one = Outbox(), template()
    add(outbox, one, 0)
    (block,), *_ = outbox.take(with_blocks=True)
    add(outbox, one, 1)
    outbox.put_back([block])
    blocks, _, _, _ = outbox.take(with_blocks=True)
    assert [b.first_ordinal for b in blocks] == [0, 1]


def test_requests_and_reports_are_cut_to_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskyard._network.session.outbox.IDS_PER_FRAME", 2)
    monkeypatch.setattr("taskyard._network.session.outbox.MOST_IDS", 3)
    monkeypatch.setattr("taskyard._network.session.outbox.BYTES_PER_FRAME", 50)
    outbox, ids = Outbox(), new_ids(7)
    for item in cancels_of(ids, unless_started=True):
        outbox.add(item)
    for number in range(3):
        outbox.add(pb.FlowReport(run_id=FLOW, attempt=number, message="long" * 10))
    frames = [outbox.take(with_blocks=True) for _ in range(4)]
    assert [frame.withdrawn for frame in frames] == [ids[:4], ids[4:], [], []]
    assert [[report.attempt for report in frame.reports] for frame in frames] == [[], [0], [1], [2]]


def test_whoever_submits_too_much_waits_until_some_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskyard._network.session.outbox.MOST_BYTES", 0)
    outbox = Outbox()
    add(outbox, template(), 0)
    assert outbox.size == 1
    looks: list[int] = []
    outbox.wait_for_room(lambda: bool(looks.append(1)) or len(looks) > 0)
    assert looks == [1], "nobody will send it, so nobody waits"
    threading.Timer(0.01, lambda: outbox.take(with_blocks=True)).start()
    outbox.wait_for_room(lambda: False)
    assert outbox.size == 0


def test_a_request_divides_the_runs_around_it() -> None:
    outbox, one = Outbox(), template()
    add(outbox, one, 0)
    outbox.add(pb.FlowReport(run_id=FLOW))
    add(outbox, one, 1)
    assert [len(block.run_ids) for block in outbox.take(with_blocks=True).blocks] == [1, 1]


def test_runs_of_another_parent_begin_a_block() -> None:
    outbox, one = Outbox(), template()
    for ordinal, parent in enumerate((b"p", b"q")):
        outbox.add_run(one, FLOW, parent, new_id(), b"", ordinal)
    assert [block.parent_run_id for block in outbox.take(with_blocks=True).blocks] == [b"p", b"q"]


def test_blocks_and_frames_are_cut_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskyard._network.session.outbox.BYTES_PER_FRAME", 100)
    outbox, one = Outbox(), template()
    for ordinal in range(3):
        outbox.add_run(one, FLOW, b"", new_id(), b"x" * 90, ordinal)
    taken = [outbox.take(with_blocks=True).blocks for _ in range(3)]
    assert [[len(block.run_ids) for block in blocks] for blocks in taken] == [[1], [1], [1]]


def test_what_waits_is_counted_however_it_came() -> None:
    outbox, block = Outbox(), Block(template(), FLOW, b"", 0)
    block.add_plain(new_id(), b"four")
    outbox.add(block)
    assert outbox.size == 4
    taken = outbox.take(with_blocks=True)
    assert outbox.size == 0
    outbox.put_back(taken.blocks)
    assert outbox.size == 4
