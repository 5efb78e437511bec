"""Failures of others are cut to the limits of our own."""

from taskyard_api.v1.common_pb2 import Payload
from taskyard_api.v1.failure_pb2 import Failure
from taskyard_contract.failures import failure_of
from taskyard_contract.wire_failures import CHAIN_LENGTH, ENCODED_LIMIT, TRACEBACK_LIMIT, bounded_failure
from taskyard_contract.wire_text import MESSAGE_LIMIT, NAME_LIMIT


def _chain(length: int) -> Failure:
    failure = Failure(type="E", message=f"{length}")
    if length:
        failure.cause.CopyFrom(_chain(length - 1))
    return failure


def _depth(failure: Failure) -> int:
    return 1 + _depth(failure.cause) if failure.HasField("cause") else 0


def test_what_keeps_to_the_limits_is_left_alone() -> None:
    for failure in (failure_of(ValueError("x" * 100_000)), _chain(CHAIN_LENGTH), Failure()):
        assert bounded_failure(failure) is failure


def test_texts_are_cut_and_an_object_that_is_too_large_is_left_out() -> None:
    large = "ü" * 40_000
    encoded = Payload(data=b"x" * (ENCODED_LIMIT + 2000))
    failure = bounded_failure(Failure(type=large, message=large, traceback=large, encoded=encoded))
    assert len(failure.type.encode()) <= NAME_LIMIT + 3
    assert len(failure.message.encode()) <= MESSAGE_LIMIT + 3
    assert len(failure.traceback.encode()) <= TRACEBACK_LIMIT + 3
    assert not failure.HasField("encoded")
    assert bounded_failure(failure) is failure


def test_a_chain_of_causes_is_cut_to_the_first() -> None:
    cut = bounded_failure(_chain(90))
    assert (_depth(cut), cut.message, cut.cause.message) == (CHAIN_LENGTH, "90", "89")


def test_what_is_too_large_far_down_the_chain_is_cut_as_well() -> None:
    failure = _chain(2)
    failure.cause.cause.message = "x" * 100_000
    assert len(bounded_failure(failure).cause.cause.message) == MESSAGE_LIMIT + 3
