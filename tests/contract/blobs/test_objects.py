"""What only object storage has: buckets, credentials, parts of uploads, and servers that are gone."""

import os
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from blake3 import blake3
from support.object_server import SECRET, ObjectServer, running_object_server

from taskyard_api.v1 import common_pb2
from taskyard_contract.errors import BlobNotFound, StorageUnavailable
from taskyard_controlplane.blobs import create_blob_store
from taskyard_controlplane.blobs.interface import BlobStore
from taskyard_controlplane.blobs.places import parse_place

pytestmark = pytest.mark.objects
MIB = 1024 * 1024
LARGE = bytes(range(256)) * (20 * MIB // 256)


def ref_of(data: bytes) -> common_pb2.BlobRef:
    return common_pb2.BlobRef(name="b3-" + blake3(data).hexdigest(), size=len(data))


def test_an_upload_that_is_given_up_leaves_no_parts(
    object_server: ObjectServer, bucket: str, opened: Callable[..., BlobStore]
) -> None:
    store = opened(bucket)
    incoming = store.receive(ref_of(LARGE))
    for start in range(0, len(LARGE) - MIB, MIB):
        incoming.write(LARGE[start : start + MIB])
    incoming.discard()
    assert object_server.unfinished(urlsplit(bucket).netloc) == []
    assert list(store.list()) == []


def test_an_upload_takes_no_thread_once_it_is_over(bucket: str, opened: Callable[..., BlobStore]) -> None:
    store, before = opened(bucket), threading.active_count()
    for end in ("finish", "discard"):
        incoming = store.receive(ref_of(LARGE))
        incoming.write(LARGE)
        getattr(incoming, end)()
    assert threading.active_count() == before


def test_a_bucket_that_is_not_there(bucket: str) -> None:
    store = create_blob_store(parse_place("s3://no-such-bucket/yard"))
    with pytest.raises(StorageUnavailable, match="there is no bucket"):
        store.open("the database")


def test_credentials_that_are_wrong_are_not_repeated(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-and-secret")
    store = create_blob_store(parse_place(bucket))
    with pytest.raises(StorageUnavailable, match="403 Forbidden, SignatureDoesNotMatch") as caught:
        store.open("the database")
    for hidden in ("wrong-and-secret", SECRET, os.environ["AWS_ACCESS_KEY_ID"], "AWS4-HMAC"):
        assert hidden not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_server_that_is_gone_is_said_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskyard_controlplane.blobs.objects.RETRIES", {"max_retries": 0})
    with running_object_server() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        store = create_blob_store(parse_place(server.make_bucket("bucket")))
        store.open("the database")
        incoming = store.receive(ref_of(LARGE))
        incoming.write(LARGE[:MIB])
    small = store.receive(ref_of(b"data"))
    small.write(b"data")
    name = ref_of(b"data").name
    for call in (
        small.finish, lambda: store.size(name), lambda: store.missing([name]), lambda: list(store.list()),
        lambda: list(store.read(name)), lambda: store.remove_unused(name, None), store.now_us,
        lambda: incoming.write(LARGE[MIB:]) or incoming.finish(),
    ):  # fmt: skip
        with pytest.raises(StorageUnavailable) as caught:
            call()
        assert caught.value.retry_after > 0
    incoming.discard()


def test_an_object_that_vanishes_while_it_is_read(bucket: str, opened: Callable[..., BlobStore]) -> None:
    store = opened(bucket)
    incoming = store.receive(ref_of(LARGE))
    incoming.write(LARGE)
    incoming.finish()
    reading = store.read(ref_of(LARGE).name)
    next(reading)
    store.remove_unused(ref_of(LARGE).name, None)
    with pytest.raises(BlobNotFound):
        for _ in reading:
            pass
