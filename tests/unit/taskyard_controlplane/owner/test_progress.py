"""What runs say of their progress is kept once for each, and not without end."""

from taskyard_api.v1 import common_pb2
from taskyard_controlplane.owner.journal.progress import ProgressOfRuns


def word(data: bytes, encoding: str = "") -> common_pb2.Payload:
    return common_pb2.Payload(encoding=encoding, data=data)


def test_the_newest_word_of_a_run_counts() -> None:
    progress = ProgressOfRuns()
    for data in (b"1", b"2"):
        progress.note(b"a", word(data))
    assert (len(progress), progress.of(b"a"), progress.of(b"b")) == (1, word(b"2").SerializeToString(), None)
    progress.forget(b"a")
    progress.forget(b"a")
    assert len(progress) == 0


def test_too_many_words_push_out_those_that_were_said_first() -> None:
    progress = ProgressOfRuns(most_bytes=16)
    for run_id in (b"a", b"b", b"c"):
        progress.note(run_id, word(b"xxx"))
    progress.note(b"a", word(b"xxx"))
    progress.note(b"d", word(b"xxx"))
    assert [run_id for run_id in (b"a", b"b", b"c", b"d") if progress.of(run_id)] == [b"a", b"c", b"d"]
    progress.note(b"e", word(b"", "x" * 16))
    assert len(progress) == 0, "one that is too large for all of it is not kept, whatever makes it large"
