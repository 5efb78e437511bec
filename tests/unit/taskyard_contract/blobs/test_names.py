"""Names of blobs say where their bytes come from, and are never paths."""

import hashlib
import zlib

import pytest
import xxhash
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from taskyard_api.v1 import common_pb2
from taskyard_contract.blobs.names import (
    check_blob_name,
    checksum_of,
    content_name,
    is_result,
    name_of,
    result_name,
    sha256_name,
    subdirectory,
)
from taskyard_contract.errors import InvalidRequest

DIGEST = hashlib.sha256(b"content").digest()
RUN = bytes(range(16))


def test_names_say_what_made_the_content() -> None:
    assert sha256_name(DIGEST) == "sha256-" + DIGEST.hex()
    assert content_name([b"con", memoryview(b"tent")]) == "b3-" + blake3(b"content").hexdigest()
    assert result_name(RUN, 1 << 33) == "run-000102030405060708090a0b0c0d0e0f-0000000200000000"
    assert checksum_of([b"con", memoryview(b"tent")]) == xxhash.xxh3_64_intdigest(b"content")


def test_only_what_a_run_returned_may_have_another_content() -> None:
    names = sha256_name(DIGEST), content_name([b"x"]), result_name(RUN, 1)
    assert [is_result(name) for name in names] == [False, False, True]


def test_older_messages_name_blobs_by_their_digests() -> None:
    assert name_of(common_pb2.BlobRef(digest=DIGEST)) == sha256_name(DIGEST)
    assert name_of(common_pb2.BlobRef(name="b3-x", digest=DIGEST)) == "b3-x"


@given(st.binary(min_size=32, max_size=32), st.integers(min_value=0, max_value=(1 << 64) - 1))
def test_every_name_that_is_made_is_one(digest: bytes, epoch: int) -> None:
    for name in (sha256_name(digest), content_name([digest]), result_name(digest[:16], epoch)):
        assert check_blob_name(name, "blob.name") == name
        assert subdirectory(name) in {f"{number:02x}" for number in range(256)}


def test_a_subdirectory_is_what_the_contract_says_of_it() -> None:
    name = result_name(RUN, 1)
    assert int(subdirectory(name), 16) == zlib.crc32(name.encode()) % 256


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../../etc/passwd",
        "sha256-" + "0" * 63,
        "sha256-" + "0" * 65,
        "sha256-" + "A" * 64,
        "sha1-" + "0" * 64,
        "b3-" + "0" * 64 + "\n",
        "b3-../" + "0" * 61,
        " b3-" + "0" * 64,
        "run-" + "0" * 32,
        "run-" + "0" * 32 + "-" + "0" * 15,
        "run-" + "0" * 32 + "-" + "0" * 16 + ".part",
        "run-" + "\u0660" * 32 + "-" + "0" * 16,
    ],
)
def test_what_could_be_a_path_is_no_name(name: str) -> None:
    with pytest.raises(InvalidRequest, match=r"blob\.name is .*, which is no name of a blob"):
        check_blob_name(name, "blob.name")
