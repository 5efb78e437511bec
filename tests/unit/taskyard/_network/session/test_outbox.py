"""Runs become groups, groups become frames, in the order in which they were submitted."""

import threading
from typing import Any

import pytest

from taskyard._network.session.in_flight import InFlight
from taskyard._network.session.outbox import (
    DEFINED_PER_FRAME,
    RUNS_PER_FRAME,
    EndRequest,
    Outbox,
    end_requests,
)
from taskyard._network.session.run_groups import MOST_UPSTREAM, GroupKey, RunGroup
from taskyard._network.session.templates import Template
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_api.v1 import template_pb2
from taskyard_contract.id_factory import new_id, new_ids
from taskyard_contract.states import UpstreamKind
from taskyard_contract.transport.channels import MAX_FRAME_BYTES

FLOW = new_id()


def key(name: str = "t", flow_run_id: bytes = FLOW, caller_run_id: bytes = b"") -> GroupKey:
    return GroupKey(Template(template_pb2.RunTemplate(name=name)), flow_run_id, caller_run_id)


def coded_key(digest: bytes, size: int) -> GroupKey:
    template = template_pb2.RunTemplate()
    template.code.blob_digest = digest
    return GroupKey(Template(template, bytes(size)), FLOW, b"")


def add(outbox: Outbox, of: GroupKey, ordinal: int) -> bytes:
    run_id = new_id()
    outbox.add_run(of, run_id, b"a", ordinal)
    return run_id


def test_consecutive_runs_of_one_template_share_a_group() -> None:
    outbox, one = Outbox(), key()
    ids = [add(outbox, one, ordinal) for ordinal in range(3)]
    groups, reports, cancels, _ = outbox.next_frame(with_groups=True)
    assert [group.run_ids for group in groups] == [ids]
    assert (reports, cancels) == ([], [])


def test_another_template_flow_run_or_a_gap_in_ordinals_begins_a_group() -> None:
    outbox, one, two = Outbox(), key("1"), key("2")
    add(outbox, one, 0)
    add(outbox, two, 0)
    add(outbox, two, 5)
    outbox.add_run(key("2", new_id()), new_id(), b"", 6)
    groups, _, _, _ = outbox.next_frame(with_groups=True)
    assert [len(group.run_ids) for group in groups] == [1, 1, 1, 1]
    assert [group.first_ordinal for group in groups] == [0, 0, 5, 6]


def test_a_frame_holds_at_most_so_many_runs() -> None:
    outbox, one = Outbox(), key()
    for ordinal in range(RUNS_PER_FRAME + 1):
        add(outbox, one, ordinal)
    first, _, _, _ = outbox.next_frame(with_groups=True)
    second, _, _, _ = outbox.next_frame(with_groups=True)
    assert [sum(len(b.run_ids) for b in groups) for groups in (first, second)] == [RUNS_PER_FRAME, 1]


def test_a_taken_group_is_not_extended() -> None:
    outbox, one = Outbox(), key()
    add(outbox, one, 0)
    (taken,), *_ = outbox.next_frame(with_groups=True)
    add(outbox, one, 1)
    assert len(taken.run_ids) == 1


def test_nothing_overtakes_runs_that_have_to_wait() -> None:
    outbox, one = Outbox(), key()
    run_id = add(outbox, one, 0)
    outbox.add(EndRequest([run_id], withdraws=False))
    outbox.add(pb.FlowReport(run_id=FLOW))
    assert outbox.next_frame(with_groups=False) == ([], [], [], [])
    groups, reports, cancels, _ = outbox.next_frame(with_groups=True)
    assert (len(groups), len(reports), cancels) == (1, 1, [run_id])


def test_a_group_has_only_the_columns_that_are_used() -> None:
    group = RunGroup(key(), 7)
    group.add(new_id(), b"", None, None, None)
    group = group.to_message(3)
    assert (group.template, group.first_ordinal, len(group.run_ids)) == (3, 7, 1)
    assert not group.args
    assert not group.cache_keys
    assert not group.upstream_ids


def test_a_group_names_positions_of_upstream_edges_extras_and_cache_keys() -> None:
    upstream = new_id()
    group = RunGroup(key(), 0)
    group.add(new_id(), b"1", None, None, None)
    group.add(new_id(), b"2", {upstream: UpstreamKind.ORDER}, "key", pb.RunExtra(name="chosen"))
    group.add(new_id(), b"3", None, None, None)
    group = group.to_message(1)
    assert list(group.upstream_positions) == [1]
    assert list(group.upstream_ids) == [upstream]
    assert list(group.upstream_kinds) == [UpstreamKind.ORDER]
    assert list(group.cache_keys) == ["", "key", ""]
    assert [(extra.position, extra.name) for extra in group.extras] == [(1, "chosen")]


def test_parts_with_keeps_what_belongs_to_the_chosen_runs() -> None:
    ids, upstream = new_ids(4), new_id()
    group = RunGroup(key(), 10)
    for position, run_id in enumerate(ids):
        edges = {upstream: int(UpstreamKind.DATA)} if position == 3 else None
        extra = pb.RunExtra(name=str(position)) if position else None
        group.add(run_id, bytes([position]), edges, f"k{position}", extra)
    parts = group.parts_with({ids[0], ids[2], ids[3]})
    assert [(part.first_ordinal, part.run_ids) for part in parts] == [(10, [ids[0]]), (12, ids[2:])]
    assert parts[1].upstream == [(1, upstream, UpstreamKind.DATA)]
    assert parts[1].cache_keys == ["k2", "k3"]
    assert [(extra.position, extra.name) for extra in parts[1].extras] == [(0, "2"), (1, "3")]


def test_put_back_groups_are_taken_first() -> None:
    outbox, one = Outbox(), key()
    add(outbox, one, 0)
    (group,), *_ = outbox.next_frame(with_groups=True)
    add(outbox, one, 1)
    outbox.put_back([group])
    groups, _, _, _ = outbox.next_frame(with_groups=True)
    assert [b.first_ordinal for b in groups] == [0, 1]


def test_requests_and_reports_are_cut_to_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskyard._network.session.outbox.IDS_PER_FRAME", 2)
    monkeypatch.setattr("taskyard._network.session.outbox.MOST_IDS", 3)
    monkeypatch.setattr("taskyard._network.session.outbox.BYTES_PER_FRAME", 50)
    outbox, ids = Outbox(), new_ids(7)
    for item in end_requests(ids, withdraws=True):
        outbox.add(item)
    for number in range(3):
        outbox.add(pb.FlowReport(run_id=FLOW, attempt=number, message="long" * 10))
    frames = [outbox.next_frame(with_groups=True) for _ in range(4)]
    assert [frame.withdrawn for frame in frames] == [ids[:4], ids[4:], [], []]
    assert [[report.attempt for report in frame.reports] for frame in frames] == [[], [0], [1], [2]]


def test_whoever_submits_too_much_waits_until_some_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskyard._network.session.outbox.MOST_BYTES", 0)
    outbox = Outbox()
    add(outbox, key(), 0)
    assert outbox.size == 1
    looks: list[int] = []
    outbox.wait_for_room(lambda: bool(looks.append(1)) or len(looks) > 0)
    assert looks == [1], "nobody will send it, so nobody waits"
    threading.Timer(0.01, lambda: outbox.next_frame(with_groups=True)).start()
    outbox.wait_for_room(lambda: False)
    assert outbox.size == 0


def test_a_request_divides_the_runs_around_it() -> None:
    outbox, one = Outbox(), key()
    add(outbox, one, 0)
    outbox.add(pb.FlowReport(run_id=FLOW))
    add(outbox, one, 1)
    assert [len(group.run_ids) for group in outbox.next_frame(with_groups=True).groups] == [1, 1]


def test_runs_of_another_caller_begin_a_group() -> None:
    outbox = Outbox()
    for ordinal, caller in enumerate((b"p", b"q")):
        outbox.add_run(key(caller_run_id=caller), new_id(), b"", ordinal)
    assert [group.key.caller_run_id for group in outbox.next_frame(with_groups=True).groups] == [b"p", b"q"]


def test_groups_and_frames_are_cut_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskyard._network.session.outbox.BYTES_PER_FRAME", 100)
    outbox, one = Outbox(), key()
    for ordinal in range(3):
        outbox.add_run(one, new_id(), b"x" * 90, ordinal)
    taken = [outbox.next_frame(with_groups=True).groups for _ in range(3)]
    assert [[len(group.run_ids) for group in groups] for groups in taken] == [[1], [1], [1]]


def test_what_waits_is_counted_however_it_came() -> None:
    outbox, group = Outbox(), RunGroup(key(), 0)
    group.add_plain(new_id(), b"four")
    outbox.add(group)
    assert outbox.size == 4
    taken = outbox.next_frame(with_groups=True)
    assert outbox.size == 0
    outbox.put_back(taken.groups)
    assert outbox.size == 4


def test_frames_are_cut_by_the_code_that_they_bring() -> None:
    machine = InFlight(str, lambda: None, lambda delay, call: None)
    keys = [coded_key(bytes([n]), 250_000) for n in range(9)]
    for first_ordinal in (0, 1):
        for of in keys:
            group = RunGroup(of, first_ordinal)
            group.add_plain(new_id(), b"")
            machine.submit_group(group)
    frames = list(iter(machine.next_frame, None))
    assert [len(frame.submit.groups) for frame in frames] == [4, 4, 10], "what was defined once takes nothing"
    assert sum(len(frame.submit.blobs) for frame in frames) == len(keys)
    assert max(frame.ByteSize() for frame in frames) <= DEFINED_PER_FRAME


def test_frames_are_cut_by_the_upstream_runs_that_they_name() -> None:
    machine, of = InFlight(str, lambda: None, lambda delay, call: None), key()
    upstream = dict.fromkeys(new_ids(100_000), int(UpstreamKind.DATA))
    for first_ordinal in range(3):
        group = RunGroup(of, first_ordinal)
        group.add(new_id(), b"", upstream, "key", None)
        machine.submit_group(group)
    frames = list(iter(machine.next_frame, None))
    assert [len(frame.submit.groups) for frame in frames] == [1, 1, 1]
    assert frames[0].ByteSize() / len(upstream) * MOST_UPSTREAM < MAX_FRAME_BYTES * 0.6, "others join it"


@pytest.mark.parametrize("more", [{"cache_key": "k" * 100}, {"extra": pb.RunExtra(name="n" * 100)}])
def test_everything_that_only_some_runs_have_counts(more: dict[str, Any]) -> None:
    plain, other = RunGroup(key(), 0), RunGroup(key(), 0)
    plain.add(new_id(), b"", None, None, None)
    other.add(new_id(), b"", **{"upstream": None, "cache_key": None, "extra": None, **more})
    assert other.size >= plain.size + 100
