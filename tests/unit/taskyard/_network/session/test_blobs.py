"""Values go into the directory where it is seen, and are sent where it is not."""

from pathlib import Path

import pytest
from support.loopback import StoredBlobs

from taskyard._network.session.blobs import Blobs
from taskyard_api.v1 import common_pb2
from taskyard_contract import pickling
from taskyard_contract.blobs.directory import BlobDirectory
from taskyard_contract.blobs.names import content_name, result_name
from taskyard_contract.encodings import BUFFERS, decode

DATA = b"x" * 100_000


@pytest.fixture
def remote() -> StoredBlobs:
    return StoredBlobs()


@pytest.fixture
def announced(tmp_path: Path) -> common_pb2.BlobDirectory:
    directory = BlobDirectory(tmp_path)
    directory.make()
    return common_pb2.BlobDirectory(path=str(tmp_path), nonce=directory.mark())


def blobs(remote: StoredBlobs, announced: common_pb2.BlobDirectory) -> Blobs:
    return Blobs(lambda: remote, lambda: announced)  # type: ignore[arg-type,return-value]


def test_where_the_directory_is_seen_nothing_is_sent(
    remote: StoredBlobs, announced: common_pb2.BlobDirectory
) -> None:
    near = blobs(remote, announced)
    ref, result = near.put(DATA), near.put_result(DATA, bytes(16), 3)
    assert (ref.name, result.name) == (content_name([DATA]), result_name(bytes(16), 3))
    assert bytes(near.read(ref)) == bytes(near.read(result)) == DATA
    assert not remote.blobs


@pytest.mark.parametrize("announcement", ["none", "another nonce", "nowhere"])
def test_elsewhere_it_is(
    remote: StoredBlobs, announced: common_pb2.BlobDirectory, tmp_path: Path, announcement: str
) -> None:
    if announcement == "none":
        announced = common_pb2.BlobDirectory()
    elif announcement == "nowhere":
        announced.path = str(tmp_path / "nowhere")
    else:
        announced.nonce = bytes(16)
    far = blobs(remote, announced)
    ref, result = far.put(DATA), far.put_result(DATA, bytes(16), 3)
    assert far.directory is None
    assert set(remote.blobs) == {ref.name, result.name}
    assert bytes(far.read(ref)) == DATA


def test_a_laid_out_value_is_the_same_near_and_far(
    remote: StoredBlobs, announced: common_pb2.BlobDirectory
) -> None:
    value = pickling.dumps_apart(bytearray(DATA))
    near, far = blobs(remote, announced), blobs(remote, common_pb2.BlobDirectory())
    assert near.put(value) == far.put(value)
    for place in (near, far):
        assert decode(place.read(near.put(value)), BUFFERS) == bytearray(DATA)


def test_content_is_named_once(
    remote: StoredBlobs, announced: common_pb2.BlobDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    named: list[int] = []

    def counted(pieces: list[bytes]) -> str:
        named.append(1)
        return content_name(pieces)

    monkeypatch.setattr("taskyard_contract.blobs.names.content_name", counted)
    near = blobs(remote, announced)
    assert near.put(DATA) == near.put(bytes(DATA))
    assert len(named) == 1


def test_a_server_that_was_restarted_is_looked_at_again(
    remote: StoredBlobs, announced: common_pb2.BlobDirectory, tmp_path: Path
) -> None:
    now = [announced]
    place = Blobs(lambda: remote, lambda: now[0])  # type: ignore[arg-type,return-value]
    assert place.directory is not None
    now[0] = common_pb2.BlobDirectory(path=str(tmp_path), nonce=bytes(16))
    assert place.directory is None
    now[0] = common_pb2.BlobDirectory(path=str(tmp_path), nonce=BlobDirectory(tmp_path).mark())
    assert place.directory is not None


def test_what_is_for_all_languages_is_named_by_its_sha_256(
    remote: StoredBlobs, announced: common_pb2.BlobDirectory
) -> None:
    ref = blobs(remote, announced).put_for_all(DATA)
    assert (len(ref.digest), ref.name) == (32, "")
    assert bytes(blobs(remote, announced).read(ref)) == DATA
