"""Results that are no pickles: read as JSON, as bytes or as the declared type, and never unpickled."""

import pickle
from dataclasses import dataclass
from typing import Any, cast

import pytest

from taskyard._data.values.awaited import Origin
from taskyard._engine.futures.typed import Reading, TypedFuture
from taskyard.exceptions import RemoteError, ResultTypeError
from taskyard.utilities.annotations import NotSet
from taskyard_api.v1 import common_pb2
from taskyard_api.v1 import session_service_pb2 as pb
from taskyard_contract.encodings import BINARY, JSON, PICKLE
from taskyard_contract.states import RunState

RUN = b"r" * 16


@dataclass
class Size:
    width: int


class Forbidden:
    """Says that it was unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("it was unpickled",)


class Blobs:
    """Has every blob."""

    flow_run_id = b""
    known = None

    def fetch(self, ref: common_pb2.BlobRef) -> bytes:
        return b'{"width":"9"}'


def future(arguments: str = JSON, result: Any = NotSet, encoding: str = JSON) -> TypedFuture[Any]:
    return TypedFuture(RUN, cast(Origin, Blobs()), Reading("t", encoding, arguments, result))


def outcome(state: RunState = RunState.COMPLETED, **fields: Any) -> pb.RunOutcome:
    return pb.RunOutcome(run_id=RUN, state=state.value, **fields)


def test_an_ordinary_result_is_read_once() -> None:
    of_json = future(result=Size)
    of_json.settle(b'{"width":"7"}')
    assert of_json.result() == Size(7)
    assert of_json.result() is of_json.result() is of_json.get_state().result()
    plain, raw = future(), future(encoding=BINARY)
    plain.settle(b"[1]")
    raw.settle(b"\x80")
    assert (plain.result(), raw.result()) == ([1], b"\x80")


def test_a_result_elsewhere_is_fetched_and_converted() -> None:
    made = future(result=Size)
    blob = common_pb2.BlobRef(digest=b"d" * 32, size=1)
    made.settle(outcome(result=common_pb2.Payload(encoding=JSON, blob=blob)))
    assert made.result() == Size(9)


def test_what_is_no_such_type_is_an_error_that_names_the_task() -> None:
    made = future(result=Size)
    made.settle(b'{"width":"wide"}')
    for _ in range(2):
        with pytest.raises(ResultTypeError, match="the result of 't' does not have"):
            made.result()


def test_nothing_is_unpickled_for_whoever_sent_no_pickles() -> None:
    data = pickle.dumps(Forbidden())
    result, failure = future(), future()
    result.settle(outcome(result=common_pb2.Payload(encoding=PICKLE, data=data)))
    with pytest.raises(ValueError, match="has a result in 'python/pickle5'"):
        result.result()
    told = outcome(RunState.FAILED)
    told.failure.type, told.failure.message = "Oops", "no"
    told.failure.encoded.encoding, told.failure.encoded.data = PICKLE, data
    failure.settle(told)
    with pytest.raises(RemoteError, match="Oops: no"):
        failure.result()


def test_a_task_that_was_called_with_pickles_brings_its_exception() -> None:
    made = future(arguments=PICKLE)
    told = outcome(RunState.FAILED)
    told.failure.encoded.encoding, told.failure.encoded.data = PICKLE, pickle.dumps(KeyError("k"))
    made.settle(told)
    with pytest.raises(KeyError):
        made.result()
