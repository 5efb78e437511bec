"""Values are read by the name of their encoding, and by nothing else."""

from typing import Any

import pytest

from taskyard_api.v1 import common_pb2
from taskyard_contract.encodings import (
    BINARY,
    JSON,
    JSON_PROTOBUF,
    PICKLE,
    PROTOBUF,
    decode,
    decode_payload,
    encode,
    encode_as,
    is_expected,
    payload_of,
    refusal_of,
)
from taskyard_contract.languages.json_values import NotJson


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


def test_messages_are_read_by_the_name_of_their_type() -> None:
    ref = common_pb2.BlobRef(digest=b"d", size=3)
    for encoding in (PROTOBUF, JSON_PROTOBUF):
        payload = payload_of(ref, encoding)
        assert payload.type == "taskyard_api.v1.BlobRef"
        assert decode_payload(payload, None) == ref
        with pytest.raises(ValueError, match=r"'their.Type' is not known here"):
            decode(payload.data, encoding, "their.Type")
        with pytest.raises(ValueError, match=r"the data is no 'taskyard_api\.v1\.BlobRef'"):
            decode(b"\xff", encoding, payload.type)
        with pytest.raises(TypeError, match="int is no message"):
            encode_as(1, encoding)


@pytest.mark.parametrize(
    ("encoding", "arguments", "expected"),
    [
        (PICKLE, PICKLE, True),
        (JSON, PICKLE, True),
        (BINARY, PICKLE, True),
        (PICKLE, JSON, False),
        (PICKLE, BINARY, False),
        (PICKLE, "", False),
        (JSON, JSON, True),
        (BINARY, JSON, True),
        ("zip/plain", PICKLE, False),
        ("", JSON, False),
    ],
)
def test_only_runs_with_pickles_are_sent_any(encoding: str, arguments: str, expected: bool) -> None:
    assert is_expected(encoding, arguments) is expected


def test_a_refusal_says_where_and_what_to_do() -> None:
    value = {"list": [1, {2}]}
    with pytest.raises(NotJson) as caught:
        encode_as(value, JSON)
    assert "result['list'][1]: a set has no form in JSON" in refusal_of(value, JSON, caught.value)
    assert "return bytes" in refusal_of(3, BINARY, TypeError("x"))
    assert "cannot be written as 'binary/protobuf'" in refusal_of(3, PROTOBUF, TypeError("x"))
