"""Spans of assigned chunks: every run is in exactly one of them."""

from taskyard_agent.holding.chunks import Chunk, Span
from taskyard_agent.holding.queue import EVERYBODY, SpanQueue
from taskyard_agent.holding.templates import LocalTemplate
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import common_pb2, session_service_pb2, template_pb2


def run_id(number: int) -> bytes:
    return number.to_bytes(16)


def span(count: int, first: int = 0, args: bytes = b"") -> Span:
    body = pb.ChunkBody(args=[args + bytes([n]) for n in range(count)], ordinals=range(count))
    body.input_positions.extend([0, count - 1])
    body.input_ids.extend([b"u", b"v"])
    body.inputs.extend([b"", b"value"])
    body.others.append(session_service_pb2.RunOutcome(run_id=b"u"))
    body.extras.append(pb.AttemptExtra(position=count - 1, attempt=2))
    ids = b"".join(run_id(first + n) for n in range(count))
    chunk = Chunk(
        LocalTemplate(0, template_pb2.TemplateDefinition()), 100 + first, ids, body.SerializeToString()
    )
    return chunk.whole()


def epochs(spans: list[Span]) -> list[int]:
    return [key.epoch - 100 for span in spans for key in span.run_keys()]


def test_a_run_is_found_by_id_and_epoch() -> None:
    held = span(3)
    assert held.find(pb.RunKey(run_id=run_id(2), epoch=102)) == 2
    assert held.find(pb.RunKey(run_id=run_id(2), epoch=101)) is None
    assert held.find(pb.RunKey(run_id=run_id(3), epoch=103)) is None
    held.start = 3
    assert held.find(pb.RunKey(run_id=run_id(2), epoch=102)) is None


def test_a_queue_splits_what_is_too_long() -> None:
    queue = SpanQueue()
    queue.add(span(5))
    first = queue.pop(2)
    assert first is not None
    assert (epochs([first]), queue.runs) == ([0, 1], 3)
    rest = queue.pop(10)
    assert rest is not None
    assert (epochs([rest]), queue.runs, queue.pop(1)) == ([2, 3, 4], 0, None)


def test_what_comes_back_goes_to_the_front_in_order() -> None:
    queue = SpanQueue()
    queue.add(span(1, 10))
    queue.put_back([span(2, 0), span(1, 5)])
    assert epochs(list(queue)) == [0, 1, 5, 10]
    assert queue.runs == 4


def test_what_one_run_has_submitted_can_be_taken_before_the_rest() -> None:
    queue = SpanQueue()
    for first, caller in ((0, b"a"), (10, b"b"), (20, b"a")):
        one = span(2, first)
        one.chunk.nested, one.chunk.caller = True, caller
        queue.add(one)
    queue.add(span(2, 30))
    assert queue.pop(9, EVERYBODY, caller=b"c") is None
    taken = [
        queue.pop(9, EVERYBODY, caller=b"b"),
        queue.pop(1, EVERYBODY, caller=b"a"),
        queue.pop(9, EVERYBODY, caller=b"a"),
    ]
    assert epochs([one for one in taken if one is not None]) == [10, 11, 20, 21]
    assert (queue.runs, queue.nested) == (4, 2)


def test_an_older_server_does_not_say_who_has_submitted_what() -> None:
    queue = SpanQueue()
    queue.add(span(2))
    assert queue.pop(9, EVERYBODY, caller=b"c") is None
    one = span(2, 10)
    one.chunk.nested = True
    queue.add(one)
    assert queue.pop(9, EVERYBODY, caller=b"c") is one


def test_what_other_runs_wait_for_is_taken_first_the_latest_before_all() -> None:
    queue = SpanQueue()
    for count, epoch, nested in ((2, 0, False), (2, 10, True), (3, 20, True), (1, 30, False)):
        one = span(count, epoch)
        one.chunk.nested = nested
        queue.add(one)
    assert (queue.runs, queue.nested) == (8, 5)
    assert epochs(list(queue)) == [20, 21, 22, 10, 11, 0, 1, 30]
    first = queue.pop(2)
    assert first is not None
    assert epochs([first]) == [20, 21], "and what is left of it stays in front"
    assert [epochs([taken]) for taken in queue.pop_last(99)] == [[30], [0, 1]]
    rest = [queue.pop(9, EVERYBODY) for _ in range(2)]
    assert epochs([one for one in rest if one is not None]) == [22, 10, 11]
    queue.add(span(1))
    assert queue.pop(9, EVERYBODY) is None


def test_the_end_of_a_queue_is_given_back_first() -> None:
    queue = SpanQueue()
    queue.add(span(3, 0))
    queue.add(span(2, 10))
    assert sorted(epochs(queue.pop_last(3))) == [2, 10, 11]
    assert (epochs(list(queue)), queue.runs) == ([0, 1], 2)
    queue.pop_last(99)
    assert queue.runs == 0


def test_one_run_can_be_removed_from_the_middle() -> None:
    queue = SpanQueue()
    queue.add(span(3, 0))
    queue.add(span(1, 10))
    removed = queue.remove(pb.RunKey(run_id=run_id(1), epoch=101))
    assert removed is not None
    assert epochs([removed]) == [1]
    assert queue.remove(pb.RunKey(run_id=run_id(1), epoch=101)) is None
    assert (epochs(list(queue)), queue.runs) == ([0, 2, 10], 3)


def test_unwanted_runs_are_left_out() -> None:
    held = span(5)
    held.start = 1
    held.unwanted = {0: True, 1: True, 3: False}
    assert epochs(held.wanted()) == [2, 4]


def test_a_small_part_of_a_large_body_is_carved_out() -> None:
    part = span(4, args=b"x" * 10_000).part(3, 4).slimmed()
    assert (part.start, part.stop, part.chunk.first_epoch, part.chunk.ids) == (0, 1, 103, run_id(3))
    body = pb.ChunkBody.FromString(part.chunk.body)
    assert [args[-1] for args in body.args] == [3]
    assert list(body.ordinals) == [3]
    assert (list(body.input_positions), list(body.input_ids), list(body.inputs)) == ([0], [b"v"], [b"value"])
    assert not body.others
    assert [(extra.position, extra.attempt) for extra in body.extras] == [(0, 2)]


def test_a_carved_part_keeps_the_outcomes_it_needs() -> None:
    part = span(4, args=b"x" * 10_000).part(0, 1).slimmed()
    body = pb.ChunkBody.FromString(part.chunk.body)
    assert [outcome.run_id for outcome in body.others] == [b"u"]
    assert not body.extras


def test_small_bodies_travel_whole() -> None:
    part = span(4).part(3, 4)
    assert part.slimmed() is part


def test_parts_are_of_the_same_kind_as_the_whole() -> None:
    whole, blob = span(4, args=b"x" * 10_000), common_pb2.BlobRef(digest=b"d" * 32)
    whole.strikes, whole.chunk.nested, whole.chunk.blobs = 2, True, (blob,)
    part = whole.part(3, 4)
    carved = part.slimmed()
    assert carved is not part
    assert [one.strikes for one in (part, carved)] == [2, 2], "or code that kills workers goes on for ever"
    assert [one.chunk.nested for one in (part, carved)] == [True, True]
    assert carved.chunk.blobs == (blob,)


def test_a_cleared_queue_is_empty() -> None:
    queue = SpanQueue()
    nested = span(2, 10)
    nested.chunk.nested = True
    for one in (span(3), nested):
        queue.add(one)
    assert epochs(queue.clear()) == [10, 11, 0, 1, 2]
    assert (queue.runs, queue.nested, queue.pop(9), queue.clear()) == (0, 0, None, [])


def test_nested_runs_that_come_back_stay_before_all_others() -> None:
    queue = SpanQueue()
    queue.add(span(1))
    nested = span(1, 10)
    nested.chunk.nested = True
    queue.put_back([span(1, 20), nested])
    assert epochs(list(queue)) == [10, 20, 0]
    assert queue.nested == 1


def test_the_middle_of_a_nested_span_can_be_removed() -> None:
    queue = SpanQueue()
    nested = span(3)
    nested.chunk.nested = True
    queue.add(nested)
    assert queue.remove(pb.RunKey(run_id=run_id(1), epoch=101)) is not None
    assert (epochs(list(queue)), queue.runs, queue.nested) == ([0, 2], 2, 2)
