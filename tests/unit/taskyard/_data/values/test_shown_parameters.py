import datetime
import os
import pickle
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel, Secret, SecretBytes, SecretStr

from taskyard._data.values.shown_parameters import parameter_document, parameters_of, shown_parameters
from taskyard_api.v1 import common_pb2
from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_contract import references
from taskyard_contract.encodings import JSON, PICKLE

RUN_ID = bytes.fromhex("01a229685ba6700490819537dfca0000")


@dataclass
class Order:
    number: int
    of: Any = None


class Runs:
    """Would execute something when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.putenv, ("TASKYARD_UNPICKLED", "yes")


class Upstream:
    def __reduce__(self) -> Any:
        return references.resolve, (RUN_ID,)


def called(*args: Any, **kwargs: Any) -> pb.Run:
    return pb.Run(args=common_pb2.Payload(encoding=PICKLE, data=pickle.dumps((args, kwargs))))


def test_plain_values_are_shown_as_they_are():
    run = called(1, "two", sizes=[1.5, None], day=datetime.date(2026, 1, 1))
    assert shown_parameters(run) == "1, 'two', sizes=[1.5, None], day=datetime.date(2026, 1, 1)"
    assert parameter_document(run) == {"0": 1, "1": "two", "sizes": [1.5, None], "day": "2026-01-01"}


def test_a_call_without_arguments_is_known():
    assert parameters_of(called()) == {}


def test_objects_are_shown_by_their_classes_and_plain_attributes():
    run = called(Order(1, Order(2)), Decimal("1.5"), {1, 2}, len)
    assert shown_parameters(run) == "Order(number=1, of=Order(...)), Decimal('1.5'), {1, 2}, len"
    assert parameter_document(run)["0"] == "Order(number=1, of=Order(...))"


class Login(BaseModel):
    password: SecretStr


def test_what_is_private_in_objects_is_not_told_so_secrets_are_not():
    secrets = SecretStr("hunter2"), SecretBytes(b"hunter2"), Secret[str]("hunter2")
    run = called(*secrets, Login(password=secrets[0]), Order(1, secrets[0]), [{"a": secrets[0]}])
    assert "hunter2" not in f"{shown_parameters(run)} {parameter_document(run)}"
    assert shown_parameters(run).startswith("SecretStr(...), SecretBytes(...), Secret(...), Login(...), Or")


def test_the_result_of_another_run_is_named():
    assert shown_parameters(called(Upstream())) == "<result of 68-5ba6-7004>"
    data = b'{"args": [{"$taskyard.run": "01a22968-5ba6-7004-9081-9537dfca0000"}], "kwargs": {"n": 2}}'
    run = pb.Run(args=common_pb2.Payload(encoding=JSON, data=data))
    assert shown_parameters(run) == "<result of 68-5ba6-7004>, n=2"


def test_nothing_is_executed():
    assert shown_parameters(called(Runs())).startswith("putenv(")
    assert "TASKYARD_UNPICKLED" not in os.environ


@pytest.mark.parametrize(
    "payload",
    [
        common_pb2.Payload(),
        common_pb2.Payload(encoding="protobuf/binary", data=b"x"),
        common_pb2.Payload(encoding=PICKLE, data=b"no pickle"),
        common_pb2.Payload(encoding=PICKLE, data=pickle.dumps(3)),
        common_pb2.Payload(encoding=JSON, data=b"[1"),
        common_pb2.Payload(encoding=PICKLE, blob=common_pb2.BlobRef(size=1)),
    ],
)
def test_what_cannot_be_known_is_not_shown(payload):
    run = pb.Run(args=payload)
    assert (parameters_of(run), shown_parameters(run), parameter_document(run)) == (None, "", None)


def test_a_short_pickle_without_end_is_cut():
    endless: list[Any] = []
    for _ in range(40):
        endless = [endless, endless]
    run = called(endless, "x" * 500, Order(1, endless))
    assert len(shown_parameters(run)) < 1_000
    assert len(str(parameter_document(run))) < 200_000
