"""The canonical messages are what this release writes and reads."""

import json
from typing import Any

import pytest
from conformance.golden import ARGS, FILE, FIRST, REFERENCE, messages, text
from conformance.things import KNOWN_RUN
from google.protobuf import json_format
from google.rpc import status_pb2

from taskyard_contract.errors import Overloaded
from taskyard_contract.transport.rpc_errors import to_status

STORED: dict[str, dict[str, Any]] = {entry["name"]: entry for entry in json.loads(FILE.read_text())}
MADE = {golden.name: golden for golden in messages()}


def test_the_file_is_what_is_written_now():
    assert FILE.read_text() == text()


@pytest.mark.parametrize("name", STORED)
def test_bytes_and_json_are_one_message(name: str):
    stored, message = STORED[name], MADE[name].message
    assert message.SerializeToString(deterministic=True).hex() == stored["hex"]
    assert type(message).FromString(bytes.fromhex(stored["hex"])) == message
    assert json_format.ParseDict(stored["json"], type(message)()) == message


def test_an_error_ends_a_call_with_the_canonical_status():
    status = to_status(Overloaded("too much", retry_after=0.25))
    (trailer,) = (value for key, value in status.trailing_metadata if key == "grpc-status-details-bin")
    assert trailer.hex() == STORED["error-status"]["hex"]
    assert status_pb2.Status.FromString(trailer).message == status.details


@pytest.mark.parametrize("args", [ARGS, REFERENCE])
def test_arguments_are_an_envelope_of_json(args: bytes):
    assert set(json.loads(args)) == {"args", "kwargs"}


def test_the_reference_names_the_upstream_run():
    (named,) = json.loads(REFERENCE)["args"]
    assert named == {"$taskyard.run": str(KNOWN_RUN)}
    assert KNOWN_RUN.bytes == FIRST
