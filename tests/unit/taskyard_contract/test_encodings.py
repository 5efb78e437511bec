"""Values are read by the name of their encoding, and by nothing else."""

from typing import Any

import pytest

from taskyard_api.v1 import common_pb2
from taskyard_contract.encodings import BINARY, JSON, PICKLE, decode, decode_payload, encode, encode_as


@pytest.mark.parametrize(
    ("encoding", "value"),
    [(PICKLE, {"a": (1, 2)}), (JSON, {"a": [1, None, "ä"]}), (BINARY, b"\x00\xff"), (PICKLE, None)],
)
def test_what_was_encoded_comes_back(encoding: str, value: Any) -> None:
    assert decode(encode_as(value, encoding), encoding) == value


def test_values_of_python_programs_are_pickles() -> None:
    assert decode(encode({1, 2})) == {1, 2}
    assert encode_as({1}, PICKLE) == encode({1})


@pytest.mark.parametrize("encoding", ["", "zip/plain"])
def test_nothing_is_read_or_written_in_an_encoding_that_is_not_known(encoding: str) -> None:
    with pytest.raises(ValueError, match=f"encoding '{encoding}', which is unknown here; use {PICKLE}"):
        decode(encode(1), encoding)
    with pytest.raises(ValueError, match="unknown here"):
        encode_as(1, encoding)


@pytest.mark.parametrize(("encoding", "value"), [(JSON, {1, 2}), (BINARY, 3)])
def test_what_an_encoding_has_no_form_for_is_refused(encoding: str, value: Any) -> None:
    with pytest.raises(TypeError):
        encode_as(value, encoding)


def test_a_payload_is_read_where_it_lies() -> None:
    ref = common_pb2.BlobRef(digest=b"d" * 32, size=1)
    assert decode_payload(common_pb2.Payload(encoding=JSON, data=b"[1]"), None) == [1]
    assert decode_payload(common_pb2.Payload(encoding=JSON, blob=ref), lambda asked: b"[2]") == [2]
    assert decode_payload(common_pb2.Payload(), None) is None
    with pytest.raises(ValueError, match="no connection to read it"):
        decode_payload(common_pb2.Payload(encoding=JSON, blob=ref), None)
