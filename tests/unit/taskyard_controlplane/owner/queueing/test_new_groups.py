"""Frames of new runs, cut into what goes into one commit each."""

from hypothesis import given
from hypothesis import strategies as st

from taskyard_api.v1 import common_pb2
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_controlplane.domain.model import Template
from taskyard_controlplane.owner.queueing.new_groups import WHOLE, Filling, NewGroup, Portion

TEMPLATE = Template(1, b"", b"")


def group(sizes: list[int], with_args: bool = True) -> NewGroup:
    run_ids = [bytes([position]) * 16 for position in range(len(sizes))]
    args = [bytes([position]) * size for position, size in enumerate(sizes)] if with_args else []
    return NewGroup(pb.RunGroup(run_ids=run_ids, args=args, first_ordinal=7), TEMPLATE, run_ids)


def test_a_group_is_one_piece_when_nobody_else_waits() -> None:
    [piece] = group([10] * 100).cut(WHOLE)
    assert (piece.first, len(piece.run_ids), piece.size, piece.longest) == (0, 100, 1000, 10)


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(1, 8), st.integers(1, 20), st.booleans()
)
def test_pieces_are_the_group_again_and_fit(sizes: list[int], runs: int, size: int, with_args: bool) -> None:
    whole = group(sizes, with_args)
    pieces = list(whole.cut(Portion(runs, size)))
    assert [run_id for piece in pieces for run_id in piece.run_ids] == list(whole.message.run_ids)
    assert [arg for piece in pieces for arg in piece.args] == list(whole.message.args)
    position = 0
    for piece in pieces:
        assert (piece.first, piece.first_ordinal) == (position, 7 + position)
        assert (piece.size, piece.longest) == (
            sum(map(len, piece.args)),
            max(map(len, piece.args), default=0),
        )
        assert len(piece.run_ids) <= runs
        assert piece.size <= size or len(piece.run_ids) == 1
        position += len(piece.run_ids)


def test_labelled_arguments_count_as_others_do() -> None:
    extras = [pb.RunExtra(position=at, payload=common_pb2.Payload(data=b"x" * 10)) for at in (0, 2)]
    run_ids = [bytes([position]) * 16 for position in range(3)]
    labelled = NewGroup(
        pb.RunGroup(run_ids=run_ids, args=[b"", b"yy", b""], extras=extras), TEMPLATE, run_ids
    )
    assert [piece.size for piece in labelled.cut(WHOLE)] == [22]
    assert [(piece.first, piece.size) for piece in labelled.cut(Portion(3, 12))] == [(0, 12), (2, 10)]


def test_names_and_headers_count_too() -> None:
    run_ids = [bytes([position]) * 16 for position in range(3)]
    message = pb.RunGroup(run_ids=run_ids, headers={"traceparent": "x" * 50})
    message.extras.add(position=1, name="n" * 7)
    known = NewGroup(message, TEMPLATE, run_ids)
    each = len(known.headers or b"")
    assert each > 60
    assert [piece.size for piece in known.cut(WHOLE)] == [3 * each + 7]
    assert [piece.first for piece in known.cut(Portion(3, 2 * each + 6))] == [0, 1, 2]
    assert [piece.first for piece in known.cut(Portion(3, 2 * each + 7))] == [0, 2]


def test_a_commit_is_full_before_it_is_too_full() -> None:
    filling = Filling(Portion(3, 10))
    assert not filling.is_full(1, 4)
    assert not filling.is_full(2, 4)
    assert filling.is_full(1, 1), "a fourth run"
    assert not filling.is_full(1, 9)
    assert filling.is_full(1, 1), "an eleventh byte"
    assert filling.is_full(1, 99)
    assert filling.is_full(1, 1)


def test_what_is_too_large_for_any_commit_does_not_wait_for_an_empty_one() -> None:
    assert not Filling(Portion(3, 10)).is_full(1, 99)
