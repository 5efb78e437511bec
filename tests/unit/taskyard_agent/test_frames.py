"""The worker link's framing."""

import pytest

from taskyard_agent.runner import frames


@pytest.mark.parametrize("size", [1, 3, 5, 7, 1000])
def test_frames_survive_any_cut_of_the_stream(size: int) -> None:
    sent = [(frames.CHUNK, b"a" * 10), (frames.READY, b""), (frames.REPORT, bytes(range(256)))]
    stream = b"".join(frames.pack(kind, body[:3], body[3:]) for kind, body in sent)
    reader = frames.FrameReader()
    received = []
    for start in range(0, len(stream), size):
        received += reader.feed(stream[start : start + size])
    assert received == sent


def test_an_incomplete_frame_is_not_delivered() -> None:
    reader = frames.FrameReader()
    assert reader.feed(frames.pack(frames.LOGS, b"abc")[:-1]) == []
    assert reader.feed(b"c" + frames.pack(frames.READY)) == [(frames.LOGS, b"abc"), (frames.READY, b"")]
