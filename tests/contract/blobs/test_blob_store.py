"""What every store promises: all of a blob under its name, or nothing."""

import hashlib
import threading
from collections.abc import Callable

import pytest
import xxhash
from blake3 import blake3

from taskyard_api.v1 import common_pb2
from taskyard_contract.errors import BlobNotFound, DigestMismatch, InvalidRequest, StorageUnavailable
from taskyard_controlplane.blobs.interface import BlobStore
from taskyard_controlplane.blobs.stamps import OtherDatabase

MIB = 1024 * 1024
LARGE = bytes(range(256)) * (20 * MIB // 256) + b"the end"  # several parts of an object
RESULT = "run-" + "0a" * 16 + "-" + "0" * 15 + "1"


def by_content(data: bytes) -> common_pb2.BlobRef:
    return common_pb2.BlobRef(name="b3-" + blake3(data).hexdigest(), size=len(data))


def by_digest(data: bytes) -> common_pb2.BlobRef:
    return common_pb2.BlobRef(digest=hashlib.sha256(data).digest(), size=len(data))


def result(data: bytes) -> common_pb2.BlobRef:
    return common_pb2.BlobRef(name=RESULT, size=len(data), checksum=xxhash.xxh3_64_intdigest(data))


def put(store: BlobStore, ref: common_pb2.BlobRef, data: bytes) -> str:
    incoming = store.receive(ref)
    try:
        for start in range(0, len(data), MIB):
            incoming.write(data[start : start + MIB])
        incoming.finish()
    finally:
        incoming.discard()
    return ref.name or f"sha256-{ref.digest.hex()}"


def content(store: BlobStore, name: str, offset: int = 0) -> bytes:
    return b"".join(store.read(name, offset))


def names(store: BlobStore, after: str = "") -> list[str]:
    return [found.name for found in store.list(after)]


@pytest.mark.parametrize("named", [by_content, by_digest, result])
@pytest.mark.parametrize("data", [b"", b"x", LARGE], ids=["nothing", "a byte", "20 MiB"])
def test_what_was_stored_is_read_as_it_was(
    store: BlobStore, named: Callable[[bytes], common_pb2.BlobRef], data: bytes
) -> None:
    name = put(store, named(data), data)
    assert store.size(name) == len(data)
    assert content(store, name) == data
    assert put(store, named(data), data) == name  # again: the same


@pytest.mark.parametrize("offset", [1, 8 * MIB, 8 * MIB + 1, len(LARGE) - 1, len(LARGE)])
def test_reading_begins_at_any_byte(store: BlobStore, offset: int) -> None:
    name = put(store, by_content(LARGE), LARGE)
    assert content(store, name, offset) == LARGE[offset:]


def test_parts_are_small(store: BlobStore) -> None:
    name = put(store, by_content(LARGE), LARGE)
    assert max(map(len, store.read(name))) <= 256 * 1024


def test_what_is_not_there_is_not_found(store: BlobStore) -> None:
    name = by_content(b"nobody").name
    assert store.size(name) is None
    assert store.missing([name]) == {name}
    with pytest.raises(BlobNotFound, match=name):
        content(store, name)
    assert store.remove_unused(name, None), "as after a crash: no error"


@pytest.mark.parametrize("data", [b"real", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("named", [by_content, by_digest, result])
def test_other_content_is_not_stored(
    store: BlobStore, named: Callable[[bytes], common_pb2.BlobRef], data: bytes
) -> None:
    other = b"f" + data[1:]
    with pytest.raises(DigestMismatch):
        put(store, named(data), other)
    assert names(store) == []


@pytest.mark.parametrize("data", [b"real", LARGE], ids=["small", "large"])
def test_less_than_was_announced_is_not_stored(store: BlobStore, data: bytes) -> None:
    with pytest.raises(DigestMismatch):
        put(store, by_content(data), data[:-1])
    assert names(store) == []


@pytest.mark.parametrize("data", [b"real", LARGE], ids=["small", "large"])
def test_what_is_given_up_leaves_nothing(store: BlobStore, data: bytes) -> None:
    incoming = store.receive(by_content(data))
    incoming.write(data[:MIB])
    incoming.discard()
    incoming.discard()
    assert names(store) == []
    with pytest.raises(StorageUnavailable, match="given up"):
        incoming.write(data[MIB:])
    with pytest.raises(StorageUnavailable, match="given up"):
        incoming.finish()
    assert names(store) == []


@pytest.mark.parametrize("data", [b"real", LARGE], ids=["small", "large"])
def test_nothing_is_seen_before_it_is_finished(store: BlobStore, data: bytes) -> None:
    incoming = store.receive(by_content(data))
    incoming.write(data)
    assert store.size(by_content(data).name) is None
    incoming.finish()
    incoming.discard()  # changes nothing any more
    assert content(store, by_content(data).name) == data


def test_a_result_does_not_replace_another_one(store: BlobStore) -> None:
    put(store, result(b"first"), b"first")
    with pytest.raises(InvalidRequest, match="another result"):
        put(store, result(b"other"), b"other")
    assert content(store, RESULT) == b"first"


def test_the_same_blob_may_come_twice_at_the_same_time(store: BlobStore) -> None:
    failed: list[BaseException] = []

    def upload() -> None:
        try:
            put(store, by_content(LARGE), LARGE)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=upload) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert names(store) == [by_content(LARGE).name]
    assert content(store, by_content(LARGE).name) == LARGE


def test_what_was_removed_is_gone(store: BlobStore) -> None:
    name = put(store, by_content(b"data"), b"data")
    assert store.remove_unused(name, None)
    assert store.size(name) is None
    assert store.remove_unused(name, store.now_us())
    assert put(store, by_content(b"data"), b"data") == name


def test_what_was_stored_since_a_time_stays(store: BlobStore) -> None:
    name = put(store, by_content(b"data"), b"data")
    assert not store.remove_unused(name, store.now_us() - 60_000_000)
    assert content(store, name) == b"data"
    assert store.remove_unused(name, store.now_us() + 60_000_000)
    assert store.size(name) is None


def test_missing_names_are_told(store: BlobStore) -> None:
    here = [put(store, by_content(data), data) for data in (b"1", b"2", b"3")]
    lacking = [by_content(b"4").name, by_digest(b"1").name or f"sha256-{hashlib.sha256(b'1').hexdigest()}"]
    assert store.missing([*here, *lacking]) == set(lacking)
    assert store.missing([]) == set()


def test_a_listing_goes_on_behind_any_name(store: BlobStore) -> None:
    stored = {put(store, by_content(data), data) for data in (bytes([number]) for number in range(40))}
    listed = names(store)
    assert set(listed) == stored
    assert len(listed) == 40
    for position in (0, 20, 39):
        assert names(store, listed[position]) == listed[position + 1 :]


def test_a_listing_says_when_by_the_clock_of_the_store(store: BlobStore) -> None:
    before = store.now_us()
    put(store, by_content(b"data"), b"data")
    [found] = store.list()
    assert (found.name, found.size) == (by_content(b"data").name, 4)
    assert before - 1_000_000 <= found.modified_us <= store.now_us()


def test_a_store_is_opened_again_by_the_same_database_only(
    place: str, opened: Callable[..., BlobStore]
) -> None:
    first = opened(place)
    name = put(first, by_content(b"data"), b"data")
    if place == "memory:":
        return  # nobody else can open it
    assert content(opened(place), name) == b"data"
    with pytest.raises(OtherDatabase, match="--blobs"):
        opened(place, "another database")
    assert content(opened(place), name) == b"data"
