"""What a client has yet to be shown of the output of its runs.

It is recorded nowhere: what a client does not read in time is dropped, and it is told how many lines.
"""

from typing import Final, NamedTuple

from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_controlplane.owner.peers.push_window import OVERHEAD, Pool, Share

MAX_FRAME_BYTES: Final = 1024 * 1024
MAX_FRAME_PIECES: Final = 4_096


class Piece(NamedTuple):
    """Lines that a run has written."""

    run_id: bytes
    at_us: int
    stream: int
    data: bytes
    run_name: str

    @property
    def size(self) -> int:
        """What it counts."""
        return OVERHEAD + len(self.data) + len(self.run_name)


class PushedOutput:
    """The output that waits for a client's stream."""

    def __init__(self, pool: Pool, most: int) -> None:
        """Hold at most `most` bytes, out of `pool`."""
        self._share = Share(pool, most)
        self._pieces: list[Piece] = []
        self._dropped = 0

    def __bool__(self) -> bool:
        """Return whether there is anything to say."""
        return bool(self._pieces or self._dropped)

    @property
    def has_dropped(self) -> bool:
        """Whether lines were dropped of which nobody has been told."""
        return self._dropped > 0

    def push(self, piece: Piece) -> None:
        """Have a piece sent, if there is room for it."""
        if self._share.take(piece.size):
            self._pieces.append(piece)
        else:
            self._dropped += max(1, piece.data.count(b"\n"))

    def write_into(self, frame: pb.SessionFrame) -> None:
        """Have a frame carry what fits into it; what was dropped is told with the last of it."""
        count = size = 0
        for piece in self._pieces[:MAX_FRAME_PIECES]:
            if size and size + piece.size > MAX_FRAME_BYTES:
                break
            size += piece.size
            count += 1
        pieces, self._pieces = self._pieces[:count], self._pieces[count:]
        if pieces:
            self._share.sending(size)
            batch = frame.output
            run_ids, at_us, streams, data, names = zip(*pieces, strict=True)
            batch.run_ids.extend(run_ids)
            batch.at_us.extend(at_us)
            batch.streams.extend(streams)
            batch.data.extend(data)
            batch.run_names.extend(names)
        if not self._pieces:
            frame.dropped_output, self._dropped = self._dropped, 0

    def sent(self) -> None:
        """Note that the last frame is with the client."""
        self._share.sent()

    def forgo(self) -> int:
        """Give up all that waits; returns what is being written, which stays counted until `returned`."""
        self._pieces, self._dropped = [], 0
        return self._share.forgo()

    def returned(self, size: int) -> None:
        """Give back what was being written on a stream that has ended."""
        self._share.returned(size)
