"""A directory of blobs: files are complete, private, and never changed under whoever reads them."""

import errno
import os
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from taskyard_contract.blobs import directory as module
from taskyard_contract.blobs import giving_way
from taskyard_contract.blobs.directory import BlobDirectory
from taskyard_contract.blobs.giving_way import TURN_FILE
from taskyard_contract.blobs.names import content_name, result_name, subdirectory

DATA = b"content" * 1000
CONTENT = content_name([DATA])
RESULT = result_name(b"r" * 16, 3)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobDirectory:
    made = BlobDirectory(tmp_path / "blobs")
    made.make()
    return made


def files_in(blobs: BlobDirectory) -> list[str]:
    return sorted(file.name for file in blobs.root.rglob("*") if file.is_file() and file.name != TURN_FILE)


def content(blobs: BlobDirectory, name: str) -> bytes:
    return blobs.path(name).read_bytes()


def store(blobs: BlobDirectory, way: str, name: str, *pieces: bytes) -> None:
    """Store pieces in one of the three ways."""
    size = sum(map(len, pieces))
    if way == "write":
        blobs.write(name, pieces, size)
    elif way == "add":
        blobs.add(name, pieces, size)
    else:
        with blobs.receiving(name) as part:
            part.write_bytes(b"".join(pieces))


ways = pytest.mark.parametrize("way", ["write", "add", "receiving"])


@ways
@pytest.mark.parametrize("pieces", [[DATA], [b"a", b"", b"bc"], [b""], [b"x"] * 2500])
def test_what_is_stored_is_under_its_name_and_for_this_user_alone(
    blobs: BlobDirectory, way: str, pieces: list[bytes]
) -> None:
    name = content_name(pieces)
    assert blobs.size(name) is None
    store(blobs, way, name, *pieces)
    assert (content(blobs, name), blobs.size(name)) == (b"".join(pieces), len(b"".join(pieces)))
    assert blobs.path(name) == blobs.root / subdirectory(name) / name
    if way != "receiving":  # whoever receives opens the file himself
        assert stat.S_IMODE(blobs.path(name).stat().st_mode) == 0o600
    assert files_in(blobs) == [name]


@pytest.mark.parametrize("durable", [True, False])
def test_pieces_larger_than_a_step_are_written_whole_however_little_is_taken_at_a_time(
    blobs: BlobDirectory, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    monkeypatch.setattr(module, "PIECE_BYTES", 100)
    monkeypatch.setattr(giving_way, "SYNC_BYTES", 100)
    monkeypatch.setattr(module, "RESERVED_BYTES", 5000)
    writev, fdatasync, synced = os.writev, os.fdatasync, []

    def some(descriptor: int, pieces: list[memoryview]) -> int:
        assert sum(map(len, pieces)) <= 200
        return writev(descriptor, [piece[:33] for piece in pieces[:2]][: 1 + (len(pieces[0]) <= 33)])

    def counted(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_size)
        fdatasync(descriptor)

    monkeypatch.setattr(os, "writev", some)
    monkeypatch.setattr(os, "fdatasync", counted)
    pieces: list[bytes | memoryview] = [DATA, memoryview(b"and numbers").cast("B"), DATA[:50]]
    whole = b"".join(pieces)
    blobs.write(RESULT, pieces, len(whole), durable=durable)
    assert content(blobs, RESULT) == whole
    assert (len(synced) > 50) == durable, "in steps, or not at all"


def test_a_torn_file_under_a_results_name_is_replaced(blobs: BlobDirectory) -> None:
    for way in ("write", "add", "receiving"):
        blobs.path(RESULT).write_bytes(b"torn")
        with blobs.path(RESULT).open("rb") as reader:
            store(blobs, way, RESULT, DATA)
            assert reader.read() == b"torn", "the file itself is never written again"
        assert content(blobs, RESULT) == DATA


@pytest.mark.parametrize("way", ["add", "receiving"])
def test_content_that_is_here_stays_the_same_file(blobs: BlobDirectory, way: str) -> None:
    store(blobs, "add", CONTENT, DATA)
    before = blobs.path(CONTENT).stat()
    os.utime(blobs.path(CONTENT), (1, 1))
    store(blobs, way, CONTENT, DATA)
    after = blobs.path(CONTENT).stat()
    assert os.path.samestat(before, after)
    assert after.st_mtime > 1, "added again, it is no orphan"
    assert files_in(blobs) == [CONTENT]


@pytest.fixture
def _full(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def full(descriptor: int, pieces: list[memoryview]) -> int:
        os.write(descriptor, pieces[0][:10])
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patched:
        patched.setattr(os, "writev", full)
        yield


@pytest.mark.usefixtures("_full")
@pytest.mark.parametrize("way", ["write", "add"])
@pytest.mark.parametrize("name", [RESULT, CONTENT])
def test_nothing_is_left_after_an_error(blobs: BlobDirectory, way: str, name: str) -> None:
    with pytest.raises(OSError, match="full"):
        store(blobs, way, name, DATA)
    assert files_in(blobs) == []


@pytest.mark.parametrize("way", ["write", "add"])
@pytest.mark.parametrize("call", ["fdatasync", "posix_fallocate"])
def test_nothing_is_left_of_what_did_not_get_onto_the_disk(
    blobs: BlobDirectory, way: str, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failed(*_: object) -> None:
        raise OSError(errno.EIO, "lost")

    monkeypatch.setattr(module, "RESERVED_BYTES", len(DATA))
    with monkeypatch.context() as patched:
        patched.setattr(os, call, failed)
        with pytest.raises(OSError, match="lost"):
            store(blobs, way, CONTENT, DATA)
    assert files_in(blobs) == []


def test_what_is_not_received_to_its_end_gets_no_name(blobs: BlobDirectory) -> None:
    def receive() -> None:
        with blobs.receiving(CONTENT) as part:
            part.write_bytes(DATA[:10])
            assert part.parent == blobs.path(CONTENT).parent
            assert part.name.startswith(f".{CONTENT}.")
            assert part.name.endswith(".part")
            raise ValueError("interrupted")

    with pytest.raises(ValueError, match="interrupted"):
        receive()
    assert files_in(blobs) == []


def test_two_may_receive_the_same_at_a_time(blobs: BlobDirectory) -> None:
    with blobs.receiving(CONTENT) as one, blobs.receiving(CONTENT) as other:
        assert one != other
        for part in (one, other):
            part.write_bytes(DATA)
    assert (content(blobs, CONTENT), files_in(blobs)) == (DATA, [CONTENT])


def test_what_is_removed_is_gone_and_stays_with_who_has_opened_it(blobs: BlobDirectory) -> None:
    store(blobs, "add", CONTENT, DATA)
    with blobs.path(CONTENT).open("rb") as reader:
        assert blobs.remove(CONTENT)
        assert reader.read() == DATA
    assert not blobs.remove(CONTENT)
    assert blobs.size(CONTENT) is None


def test_a_directory_may_be_made_again_and_is_for_this_user_alone(blobs: BlobDirectory) -> None:
    store(blobs, "add", CONTENT, DATA)
    blobs.root.chmod(0o755)
    blobs.make()
    assert stat.S_IMODE(blobs.root.stat().st_mode) == 0o700
    assert sorted(path.name for path in blobs.root.iterdir()) == [f"{number:02x}" for number in range(256)]
    assert content(blobs, CONTENT) == DATA


def test_who_reads_the_nonce_sees_the_directory(blobs: BlobDirectory, tmp_path: Path) -> None:
    nonce = blobs.mark()
    other = BlobDirectory(tmp_path / "other")
    other.make()
    assert BlobDirectory(blobs.root).is_marked(nonce)
    assert not other.is_marked(nonce), "it has none"
    other.mark()
    assert not other.is_marked(nonce), "it has another one"
    assert not BlobDirectory(tmp_path / "nowhere").is_marked(nonce)


def test_a_fresh_nonce_takes_the_place_of_the_former_one(blobs: BlobDirectory) -> None:
    first, second = blobs.mark(), blobs.mark()
    assert len(first) == 16
    assert not blobs.is_marked(first)
    assert blobs.is_marked(second)
    assert files_in(blobs) == [".store"]
    assert stat.S_IMODE(blobs.root.joinpath(".store").stat().st_mode) == 0o600


def test_an_empty_nonce_proves_nothing(blobs: BlobDirectory) -> None:
    blobs.root.joinpath(".store").write_bytes(b"")
    assert not blobs.is_marked(b"")


def test_a_directory_that_cannot_be_written_is_not_used(
    blobs: BlobDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    nonce = blobs.mark()
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    assert not blobs.is_marked(nonce)


def test_large_files_are_written_one_after_the_other(
    blobs: BlobDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESERVED_BYTES", 100)
    inside, most = set[str](), list[int]()

    def pieces(name: str) -> Iterator[bytes]:
        inside.add(name)
        most.append(len(inside))
        yield bytes(50)
        time.sleep(0)  # others would get in here
        yield bytes(50)
        inside.discard(name)

    names = [result_name(bytes([number]) * 16, 1) for number in range(6)]
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(lambda name: blobs.write(name, pieces(name), 100), names))
    assert max(most) == 1
    assert [blobs.size(name) for name in names] == [100] * 6


def test_small_files_wait_for_nobody(blobs: BlobDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESERVED_BYTES", 100)
    with blobs.steps(100):
        began = time.monotonic()
        blobs.write(RESULT, [bytes(99)], 99)
    assert time.monotonic() - began < giving_way.PATIENCE_SECONDS / 2


def test_what_is_not_durable_waits_for_nobody(blobs: BlobDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESERVED_BYTES", 100)
    with blobs.steps(100):
        began = time.monotonic()
        blobs.write(RESULT, [bytes(100)], 100, durable=False)
    assert time.monotonic() - began < giving_way.PATIENCE_SECONDS / 2
