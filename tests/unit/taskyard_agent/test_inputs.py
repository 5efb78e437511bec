"""What runs get of the runs upstream of them."""

import pickle
from pathlib import Path
from typing import Any

import pytest
from support.task_codes import Unloadable

from taskyard_agent.runner.blob_files import BlobFiles
from taskyard_agent.runner.inputs import Inputs, UpstreamFailed
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import states_pb2
from taskyard_contract.encodings import PICKLE

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
    assert isinstance(error, UpstreamFailed)
    assert str(error) == "their.Error: it broke"
