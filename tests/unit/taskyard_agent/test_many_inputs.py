"""Inputs of a run that come as a file: each decoded from where it is, whatever describes it."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import xxhash

from taskyard_agent.runner.blob_files import BlobFiles
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_api.v1 import common_pb2, session_service_pb2, states_pb2, template_pb2
from taskyard_contract.assignments import many_inputs
from taskyard_contract.assignments.chunk import Chunk
from taskyard_contract.blobs.directory import BlobDirectory
from taskyard_contract.blobs.names import inputs_name
from taskyard_contract.encodings import JSON, PICKLE
from taskyard_contract.id_factory import new_id
from taskyard_contract.values.bodies import BadBody, blobs_in, fields_of, split_head

RUN = b"r" * 16
HEAD = pb.ChunkBody(args=[b"arguments"], ordinals=[3], flow_run_name="flow")


def id_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


def piece(first: int, values: list[bytes], *others: session_service_pb2.RunOutcome) -> bytes:
    ids = [id_of(first + at) for at in range(len(values))]
    body = pb.ChunkBody(input_positions=[0] * len(ids), input_ids=ids, inputs=values, others=others)
    return body.SerializeToString(deterministic=True)


def completed(number: int, **result: Any) -> session_service_pb2.RunOutcome:
    return session_service_pb2.RunOutcome(
        run_id=id_of(number), state=states_pb2.RUN_STATE_COMPLETED, result=common_pb2.Payload(**result)
    )


def chunk_of(path: Path, content: bytes, encoding: str = PICKLE, checksum: int | None = None) -> Chunk:
    name = inputs_name(new_id(), 7)  # a name is verified once
    store = BlobDirectory(path)
    store.make()
    store.write(name, [content], len(content), durable=False)
    if checksum is None:
        checksum = xxhash.xxh3_64_intdigest(content)
    ref = common_pb2.BlobRef(name=name, size=len(content), checksum=checksum)
    return Chunk.of_file(7, RUN, template_pb2.RunTemplate(encoding=encoding), ref, BlobFiles(path))


def inputs_of(chunk: Chunk) -> Any:
    invocation = chunk.invocation(0)
    refused = chunk.complete(invocation, 0)
    assert refused is None, refused
    return invocation.inputs


def test_all_inputs_of_all_pieces_are_decoded_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many_inputs, "LEFT_BYTES", 100_000)  # so that much of the file is let go on the way
    values = [bytes([at]) * 30_000 for at in range(40)]
    pickled = [pickle.dumps(value) for value in values]
    pieces = [piece(first, pickled[first : first + 8]) for first in range(0, 40, 8)]
    content = HEAD.SerializeToString() + b"".join(pieces)
    chunk = chunk_of(tmp_path, content)
    assert not chunk.plain
    assert chunk.invocation(0).args == b"arguments"
    found = inputs_of(chunk)
    assert list(found) == [id_of(at) for at in range(40)]
    assert list(found.values()) == values


def test_what_is_no_plain_result_is_in_its_piece(tmp_path: Path) -> None:
    nothing = session_service_pb2.RunOutcome(run_id=id_of(2), state=states_pb2.RUN_STATE_COMPLETED)
    first = piece(0, [b"", pickle.dumps("plain")], completed(0, encoding=JSON, data=b"[1]"))
    content = HEAD.SerializeToString() + first + piece(2, [b""], nothing)
    assert list(inputs_of(chunk_of(tmp_path, content)).values()) == [[1], "plain", None]


def test_runs_without_pickles_get_many_inputs_too(tmp_path: Path) -> None:
    others = [completed(at, encoding=JSON, data=b"%d" % at) for at in range(5)]
    content = HEAD.SerializeToString() + piece(0, [b""] * 5, *others)
    assert list(inputs_of(chunk_of(tmp_path, content, JSON)).values()) == [0, 1, 2, 3, 4]


def test_a_value_that_cannot_be_decoded_ends_its_run_and_not_the_worker(tmp_path: Path) -> None:
    chunk = chunk_of(tmp_path, HEAD.SerializeToString() + piece(0, [pickle.dumps(1), b"no pickle"]))
    refused = chunk.complete(chunk.invocation(0), 0)
    assert refused is not None
    assert "the inputs of" in refused.message


def test_a_damaged_file_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="damaged"):
        chunk_of(tmp_path, HEAD.SerializeToString() + piece(0, [pickle.dumps(1)]), checksum=1)


@pytest.mark.parametrize("cut", [1, 2, 20])
def test_a_body_that_ends_inside_a_field_is_refused(cut: int) -> None:
    content = memoryview(piece(0, [bytes(300)]))[:-cut]
    with pytest.raises(BadBody, match="damaged"):
        list(fields_of(content))


@pytest.mark.parametrize("content", [b"\x08\x01", b"\x0a", b"\x0a\xff", b"\xff"])
def test_what_is_no_body_is_refused(content: bytes) -> None:
    with pytest.raises(BadBody, match="damaged"):
        split_head(memoryview(content))


def test_blobs_among_the_inputs_are_found() -> None:
    blob = common_pb2.BlobRef(name="b3-" + "0" * 64, size=70_000, checksum=5)
    body = piece(0, [b"", pickle.dumps(1)], completed(0, encoding=PICKLE, blob=blob)) + piece(2, [b"x"])
    assert blobs_in(memoryview(HEAD.SerializeToString() + body)) == [blob]
