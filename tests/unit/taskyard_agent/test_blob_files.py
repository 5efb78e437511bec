"""Where a worker finds large payloads: in the control plane's store if it is seen, else in the agent's."""

import os
import pickle
from pathlib import Path

import pytest

from taskyard_agent.runner.blob_files import BlobFiles
from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs.directory import BlobDirectory
from taskyard_contract.blobs.names import checksum_of, content_name, result_name, sha256_name
from taskyard_contract.encodings import BUFFERS, PICKLE
from taskyard_contract.errors import BlobNotFound, DigestMismatch
from taskyard_contract.pickling import dumps_apart
from taskyard_contract.transport.blob_transfer import ref_of
from taskyard_contract.values.layout import LaidOut

DATA = b"what the server has"


class Place:
    """A worker's files, both of its directories, and a name that no other test has read."""

    def __init__(self, path: Path) -> None:
        self.own, self.store = BlobDirectory(path / "own"), BlobDirectory(path / "store")
        self.own.make()
        self.store.make()
        self.files = BlobFiles(self.own.root)
        self.name = content_name([str(path).encode()])

    def see_store(self) -> None:
        self.files.store = self.store

    def ref(self, data: bytes = DATA) -> common_pb2.BlobRef:
        return common_pb2.BlobRef(name=self.name, size=len(data), checksum=checksum_of([data]))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_store_comes_first_and_then_the_agents_own_directory(place: Place) -> None:
    place.own.write(place.name, [DATA], len(DATA))
    assert place.files.path(place.ref()) == place.own.path(place.name)
    place.see_store()
    assert place.files.path(place.ref()) == place.own.path(place.name), "the store does not have it"
    place.store.write(place.name, [DATA], len(DATA))
    assert place.files.path(place.ref()) == place.store.path(place.name)
    assert bytes(place.files.read(place.ref())) == DATA


def test_a_file_of_another_size_in_the_store_is_not_what_was_meant(place: Place) -> None:
    place.see_store()
    place.store.write(place.name, [DATA[:5]], 5)
    place.own.write(place.name, [DATA], len(DATA))
    assert bytes(place.files.read(place.ref())) == DATA
    value = place.files.value(place.name, len(DATA), checksum_of([DATA]), "binary/plain")
    assert value == DATA


def test_what_is_nowhere_is_an_error_that_names_it(place: Place) -> None:
    place.see_store()
    with pytest.raises(BlobNotFound, match=place.name):
        place.files.read(place.ref())
    with pytest.raises(FileNotFoundError):
        place.files.fetched(place.name)


def test_a_damaged_file_is_never_taken_for_a_value(place: Place) -> None:
    place.see_store()
    place.store.write(place.name, [DATA[::-1]], len(DATA))
    with pytest.raises(DigestMismatch, match="does not have the checksum"):
        place.files.read(place.ref())
    with pytest.raises(DigestMismatch, match="does not have the checksum"):
        place.files.value(place.name, len(DATA), checksum_of([DATA]), PICKLE)
    assert place.store.size(place.name) == len(DATA), "it is not this worker's to remove"


def test_a_damaged_copy_is_removed_so_that_it_is_fetched_anew(place: Place) -> None:
    place.own.write(place.name, [DATA], len(DATA))
    with pytest.raises(DigestMismatch, match="has 19 bytes, it was stored with 20"):
        place.files.read(place.ref(DATA + b"."))
    assert place.own.size(place.name) is None


def test_what_is_named_by_its_digest_has_no_checksum_to_look_at(place: Place) -> None:
    ref = ref_of(DATA)
    place.own.add(sha256_name(ref.digest), [DATA], len(DATA))
    assert bytes(place.files.read(ref)) == DATA
    assert bytes(place.files.payload(common_pb2.Payload(blob=ref))) == DATA
    assert place.files.payload(common_pb2.Payload(data=b"inline")) == b"inline"
    assert place.files.fetched(sha256_name(ref.digest)) == DATA


@pytest.mark.parametrize("size", [1000, 400_000], ids=["pickled", "laid out"])
def test_a_value_is_decoded_anew_for_each_run(place: Place, size: int) -> None:
    given = {"array": b"v" * size}
    laid_out = dumps_apart({"array": pickle.PickleBuffer(bytearray(given["array"]))})
    assert isinstance(laid_out, LaidOut) == (size > 1000)
    pieces = laid_out.pieces if isinstance(laid_out, LaidOut) else [laid_out]
    encoding = BUFFERS if isinstance(laid_out, LaidOut) else PICKLE
    whole = b"".join(pieces)
    place.see_store()
    place.store.write(place.name, pieces, len(whole))
    first, second = (
        place.files.value(place.name, len(whole), checksum_of(pieces), encoding) for _ in range(2)
    )
    assert first == second == given
    first["array"][0] = 0
    assert second == given, "no run sees what another one does to its arguments"
    assert place.store.path(place.name).read_bytes() == whole


def test_results_go_to_the_store_and_only_elsewhere_through_the_agent(place: Place) -> None:
    name, data = result_name(b"r" * 16, 1), pickle.dumps(1)
    assert place.files.write(name, [data], len(data))
    assert place.own.path(name).read_bytes() == data
    place.own.remove(name)
    place.see_store()
    assert not place.files.write(name, [data], len(data))
    assert (place.own.size(name), place.store.size(name)) == (None, len(data))


def test_of_one_run_and_epoch_the_last_result_counts_and_content_is_written_once(place: Place) -> None:
    place.see_store()
    result, content = result_name(b"r" * 16, 1), content_name([DATA])
    for name in (result, content):
        place.files.write(name, [DATA], len(DATA))
    first = {name: place.store.path(name).stat() for name in (result, content)}
    with place.store.path(result).open("rb") as reader:
        for name in (result, content):
            place.files.write(name, [DATA], len(DATA))
        assert reader.read() == DATA, "who reads the former one is not disturbed"
    assert not os.path.samestat(first[result], place.store.path(result).stat())
    assert os.path.samestat(first[content], place.store.path(content).stat())
