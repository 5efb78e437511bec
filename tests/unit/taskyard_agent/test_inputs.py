"""What runs get of the runs upstream of them."""

import pickle
from pathlib import Path
from typing import Any

import pytest
from support.task_codes import Unloadable

from taskyard_agent.runner.blob_files import BlobFiles
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import common_pb2, states_pb2, template_pb2
from taskyard_contract.arguments import read_arguments
from taskyard_contract.assignments.chunk import Chunk
from taskyard_contract.assignments.inputs import Inputs, UnexpectedEncoding
from taskyard_contract.encodings import BINARY, JSON, PICKLE, PROTOBUF, payload_of
from taskyard_contract.execution import Invocation
from taskyard_contract.ids import format_id
from taskyard_contract.languages.remote_errors import RemoteError
from taskyard_contract.states import StateReason

RUN = b"u" * 16


def inputs_of(path: Path, body: pb.ChunkBody) -> Any:
    body.input_positions.append(0)
    body.input_ids.append(RUN)
    if not body.inputs:
        body.inputs.append(b"")
    inputs = Inputs(body, PICKLE, BlobFiles(path)).of(0)
    assert inputs is not None
    return inputs[RUN]


def failed(encoding: str, data: bytes = b"", digest: bytes = b"") -> pb.ChunkBody:
    body = pb.ChunkBody()
    outcome = body.others.add(run_id=RUN, state=states_pb2.RUN_STATE_FAILED)
    outcome.failure.type, outcome.failure.message = "their.Error", "it broke"
    outcome.failure.encoded.encoding = encoding
    if digest:
        outcome.failure.encoded.blob.digest = digest
    else:
        outcome.failure.encoded.data = data
    return body


def test_a_value_and_an_exception_come_as_they_were(tmp_path: Path) -> None:
    assert inputs_of(tmp_path, pb.ChunkBody(inputs=[pickle.dumps([1])])) == [1]
    error = inputs_of(tmp_path, failed(PICKLE, pickle.dumps(KeyError("k"))))
    assert isinstance(error, KeyError)


@pytest.mark.parametrize(
    "body",
    [
        failed(PICKLE, pickle.dumps(Unloadable())),
        failed("their/own", b"..."),
        failed(PICKLE, digest=b"d" * 32),
        failed(PICKLE, pickle.dumps("no exception")),
    ],
    ids=["class is not here", "unknown encoding", "blob is not here", "no exception"],
)
def test_a_failure_that_cannot_be_read_here_is_told_in_words(tmp_path: Path, body: pb.ChunkBody) -> None:
    error = inputs_of(tmp_path, body)
    assert isinstance(error, RemoteError)
    assert str(error) == "their.Error: it broke"


def completed(encoding: str, data: bytes) -> pb.ChunkBody:
    body = pb.ChunkBody()
    outcome = body.others.add(run_id=RUN, state=states_pb2.RUN_STATE_COMPLETED)
    outcome.result.encoding, outcome.result.data = encoding, data
    return body


class Forbidden:
    """Says that it was unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("it was unpickled",)


def of(path: Path, body: pb.ChunkBody, encoding: str) -> Any:
    body.input_positions.append(0)
    body.input_ids.append(RUN)
    body.inputs.append(b"")
    inputs = Inputs(body, encoding, BlobFiles(path)).of(0)
    assert inputs is not None
    return inputs[RUN]


def test_each_value_is_read_in_the_encoding_of_who_made_it(tmp_path: Path) -> None:
    assert of(tmp_path, completed(JSON, b'{"a":1}'), PICKLE) == {"a": 1}
    assert of(tmp_path, completed(BINARY, b"\x80"), PICKLE) == b"\x80"
    assert of(tmp_path, completed(BINARY, b"\x80"), JSON) == b"\x80"
    assert of(tmp_path, completed(PICKLE, pickle.dumps({1})), PICKLE) == {1}
    assert of(tmp_path, completed("", b"[1]"), JSON) == [1], "the template's, where none is named"


@pytest.mark.parametrize("encoding", [JSON, BINARY])
def test_runs_that_sent_no_pickles_unpickle_nothing(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(UnexpectedEncoding, match=f"{format_id(RUN)} has the encoding 'python/pickle5'"):
        of(tmp_path, completed(PICKLE, pickle.dumps(Forbidden())), encoding)
    body = failed(PICKLE, pickle.dumps(Forbidden()))
    error = of(tmp_path, body, encoding)
    assert (type(error), str(error)) == (RemoteError, "their.Error: it broke")


def test_an_encoding_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnexpectedEncoding, match="has the encoding 'zip/plain'"):
        of(tmp_path, completed("zip/plain", b""), PICKLE)


def test_a_failure_brings_what_is_behind_it(tmp_path: Path) -> None:
    body = failed("their/own", b"...")
    body.others[0].failure.cause.type = "their.Cause"
    error = of(tmp_path, body, JSON)
    assert isinstance(error, RemoteError)
    assert isinstance(error.cause, RemoteError)
    assert error.cause.type == "their.Cause"


def chunk(path: Path, payload: common_pb2.Payload, encoding: str) -> tuple[Chunk, Invocation]:
    body = pb.ChunkBody(args=[b""], ordinals=[0])
    body.extras.add(position=0).payload.CopyFrom(payload)
    made = Chunk(1, RUN, template_pb2.RunTemplate(name="t", encoding=encoding), body, BlobFiles(path))
    return made, made.invocation(0)


def test_arguments_may_be_in_another_encoding_than_the_template_says(tmp_path: Path) -> None:
    made, invocation = chunk(tmp_path, common_pb2.Payload(encoding=JSON, data=b'{"args":[1]}'), PICKLE)
    assert made.complete(invocation, 0) is None
    assert read_arguments(invocation) == ((1,), {})
    message = payload_of(common_pb2.BlobRef(size=3), PROTOBUF)
    made, invocation = chunk(tmp_path, message, JSON)
    assert made.complete(invocation, 0) is None
    assert read_arguments(invocation) == ((common_pb2.BlobRef(size=3),), {})


def test_arguments_are_not_unpickled_where_none_were_announced(tmp_path: Path) -> None:
    made, invocation = chunk(
        tmp_path, common_pb2.Payload(encoding=PICKLE, data=pickle.dumps(Forbidden())), JSON
    )
    report = made.complete(invocation, 0)
    assert report is not None
    assert report.reason == StateReason.CODE_UNAVAILABLE
    assert "the payload of its arguments has the encoding 'python/pickle5'" in report.message
