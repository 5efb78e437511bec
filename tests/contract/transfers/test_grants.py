"""What every way past the control plane promises, tried by who was let in."""

import hashlib
import http.client
import socket
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from support.object_server import ObjectServer, server_for_tests

from taskyard_api.v1 import blob_service_pb2 as pb
from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs.names import checksum_of, content_name, result_name, sha256_name
from taskyard_controlplane.blobs import create_blob_store
from taskyard_controlplane.blobs.interface import BlobStore
from taskyard_controlplane.blobs.places import parse_place
from taskyard_controlplane.transfers.granting import ways_past
from taskyard_controlplane.transfers.interface import GRANT_SECONDS, Grants

DATA = bytes(range(256)) * 4096
RESULT = result_name(bytes(16), 7)
KINDS = [pytest.param("objects", marks=pytest.mark.objects)]


@pytest.fixture(scope="session")
def object_server() -> Iterator[ObjectServer]:
    yield from server_for_tests()


@pytest.fixture(params=KINDS)
def store(object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> BlobStore:
    for name, value in object_server.environment().items():
        monkeypatch.setenv(name, value)
    store = create_blob_store(parse_place(object_server.make_bucket(f"bucket-{uuid4().hex[:12]}")))
    store.open("the database")
    return store


@pytest.fixture
def grants(store: BlobStore) -> Grants:
    [way] = ways_past(store)
    return way


def ref_of(data: bytes, name: str = "") -> common_pb2.BlobRef:
    return common_pb2.BlobRef(name=name or content_name([data]), size=len(data), checksum=checksum_of([data]))


def put(store: BlobStore, ref: common_pb2.BlobRef, data: bytes) -> None:
    incoming = store.receive(ref)
    incoming.write(data)
    incoming.finish()


def md5(data: bytes) -> str:
    return b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def ask(grant: pb.TransferGrant | None, method: str, body: bytes | None = None, **more: str) -> Any:
    """Do what a grant allows, as a program in any language would."""
    assert grant is not None
    url = urlsplit(grant.url)
    connection = http.client.HTTPConnection(url.netloc, timeout=20)
    connection.request(method, f"{url.path}?{url.query}", body, {**grant.headers, **more})
    answer = connection.getresponse()
    read = answer.read()
    connection.close()
    return answer.status, read


def test_a_stored_blob_is_read_by_its_grant(store: BlobStore, grants: Grants) -> None:
    ref = ref_of(DATA)
    put(store, ref, DATA)
    grant = grants.read(ref)
    assert grant is not None
    assert (grant.name, grant.expires_in_ms) == (ref.name, GRANT_SECONDS * 1000)
    assert ask(grant, "GET") == (200, DATA)
    assert ask(grant, "GET", Range="bytes=100-299") == (206, DATA[100:300])


def test_there_is_no_blob_to_be_read(grants: Grants) -> None:
    status, _ = ask(grants.read(ref_of(DATA)), "GET")
    assert status == 404


def test_a_result_is_stored_by_its_grant(store: BlobStore, grants: Grants) -> None:
    ref = ref_of(DATA, RESULT)
    grant = grants.write(ref)
    status, _ = ask(grant, "PUT", DATA)
    assert status in (200, 201)
    assert b"".join(store.read(RESULT)) == DATA


def test_a_result_that_is_stored_is_not_replaced(store: BlobStore, grants: Grants) -> None:
    ref = ref_of(DATA, RESULT)
    grant = grants.write(ref)
    put(store, ref, DATA)
    status, _ = ask(grant, "PUT", b"another one")
    assert status == 412
    assert b"".join(store.read(RESULT)) == DATA


def test_what_is_stored_already_goes_to_who_compares_it(store: BlobStore, grants: Grants) -> None:
    ref = ref_of(DATA, RESULT)
    put(store, ref, DATA)
    assert grants.write(ref) is None


@pytest.mark.parametrize("name", [content_name([DATA]), sha256_name(bytes(32))])
def test_a_content_is_only_stored_by_who_checks_it(grants: Grants, name: str) -> None:
    assert grants.write(ref_of(DATA, name)) is None


def test_what_is_too_large_for_one_request_is_not_granted(grants: Grants) -> None:
    ref = ref_of(DATA, RESULT)
    ref.size = 6 * 1024**3
    assert grants.write(ref) is None
    assert grants.read(ref) is not None


def test_a_grant_is_for_one_blob_and_one_method(store: BlobStore, grants: Grants) -> None:
    ref = ref_of(DATA, RESULT)
    write = grants.write(ref)
    put(store, ref, DATA)
    read = grants.read(ref)
    assert read is not None
    assert write is not None
    other = pb.TransferGrant(url=read.url.replace(RESULT, result_name(bytes(16), 8)))
    for grant, method in ((write, "GET"), (read, "PUT"), (read, "DELETE"), (write, "DELETE"), (other, "GET")):
        status, _ = ask(grant, method, b"" if method == "PUT" else None)
        assert status == 403
    assert b"".join(store.read(RESULT)) == DATA


def test_what_is_not_as_it_was_sent_is_not_stored(store: BlobStore, grants: Grants) -> None:
    status, _ = ask(grants.write(ref_of(DATA, RESULT)), "PUT", DATA[:-1] + b"!", **{"Content-MD5": md5(DATA)})
    assert 400 <= status < 500
    assert store.size(RESULT) is None


def test_a_part_of_a_result_is_not_to_be_seen(store: BlobStore, grants: Grants) -> None:
    grant = grants.write(ref_of(DATA, RESULT))
    assert grant is not None
    url = urlsplit(grant.url)
    connection = http.client.HTTPConnection(url.netloc, timeout=20)
    connection.putrequest("PUT", f"{url.path}?{url.query}")
    for name, value in {**grant.headers, "Content-Length": str(len(DATA)), "Content-MD5": md5(DATA)}.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(DATA[:-1])
    connection.sock.shutdown(socket.SHUT_WR)
    with suppress(http.client.BadStatusLine):
        assert connection.getresponse().status >= 400
    connection.close()
    assert store.size(RESULT) is None
    assert list(store.list()) == []


@pytest.mark.objects
def test_a_grant_leads_to_the_endpoint_that_others_use(store: BlobStore) -> None:
    [way] = ways_past(store, "https://objects.example:9000")
    grant = way.read(ref_of(DATA))
    assert grant is not None
    assert grant.url.startswith("https://objects.example:9000/bucket-")
