"""What a client has yet to be shown of the output of its runs."""

from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_controlplane.owner.peers import pushed_output
from taskyard_controlplane.owner.peers.push_window import Pool
from taskyard_controlplane.owner.peers.pushed_output import Piece, PushedOutput


def piece(data: bytes = b"line\n") -> Piece:
    return Piece(b"r" * 16, 1, 1, data, "run-0")


def frames(output: PushedOutput) -> list[pb.SessionFrame]:
    made = []
    while output:
        frame = pb.SessionFrame()
        output.write_into(frame)
        output.sent()
        made.append(frame)
    return made


def test_pieces_come_in_order_and_with_their_names() -> None:
    output = PushedOutput(Pool(1 << 20), 1 << 20)
    for data in (b"a\n", b"b\n"):
        output.push(piece(data))
    [frame] = frames(output)
    assert list(frame.output.data) == [b"a\n", b"b\n"]
    assert list(frame.output.run_names) == ["run-0", "run-0"]
    assert not frame.dropped_output


def test_much_is_several_frames() -> None:
    output = PushedOutput(Pool(1 << 24), 1 << 24)
    for _ in range(3):
        output.push(piece(b"x" * (pushed_output.MAX_FRAME_BYTES // 2 + 1)))
    assert [len(frame.output.data) for frame in frames(output)] == [1, 1, 1]


def test_what_has_no_room_is_counted_in_lines_and_told_once_with_the_last() -> None:
    output = PushedOutput(Pool(1 << 20), 1_000)
    for _ in range(5):
        output.push(piece(b"one\ntwo\n" + b"x" * 400))
    assert output.has_dropped
    [frame] = frames(output)
    assert (len(frame.output.data), frame.dropped_output) == (1, 8)
    assert not output.has_dropped
    output.push(piece())
    [frame] = frames(output)
    assert not frame.dropped_output


def test_a_client_that_leaves_gives_back_what_it_took() -> None:
    pool = Pool(1 << 20)
    output = PushedOutput(pool, 1 << 20)
    output.push(piece())
    output.write_into(pb.SessionFrame())
    output.push(piece())
    writing = output.forgo()
    assert writing == piece().size
    assert not output
    output.returned(writing)
    assert pool.left == 1 << 20
