"""Failures in words become exceptions that can be told apart."""

import pickle

import pytest

from taskyard.exceptions import FailedRun, RemoteError, register_error
from taskyard_api.v1 import failure_pb2
from taskyard_contract.failures import failure_of
from taskyard_contract.languages.remote_errors import error_of
from taskyard_contract.wire_failures import bounded_failure


class ImageTooLarge(Exception):
    """Of this program."""


class Picky(Exception):
    """Wants more than a text."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(one, two)


def test_words_are_kept_and_travel() -> None:
    error = error_of(failure_pb2.Failure(type="Oops", message="no", traceback="main.go:1", source="go"))
    assert isinstance(error, RemoteError)
    assert isinstance(error, FailedRun)
    again = pickle.loads(pickle.dumps(error))
    for one in (error, again):
        assert (type(one), str(one)) == (RemoteError, "Oops: no")
        assert (one.type, one.message, one.traceback, one.source) == ("Oops", "no", "main.go:1", "go")
    assert b"taskyard.exceptions" in pickle.dumps(error)
    assert b"languages" not in pickle.dumps(error)


def test_a_cause_is_an_attribute() -> None:
    cause = ValueError("behind")
    assert RemoteError("Oops", "no", "", cause).cause is cause
    assert RemoteError("Oops").cause is None


def test_registered_classes_are_used_where_they_take_a_text() -> None:
    assert register_error("go.ImageTooLarge", ImageTooLarge) is ImageTooLarge
    register_error("go.Picky", Picky)
    error = error_of(failure_pb2.Failure(type="go.ImageTooLarge", message="9000"))
    assert (type(error), error.args) == (ImageTooLarge, ("9000",))
    assert type(error_of(failure_pb2.Failure(type="go.Picky", message="x"))) is RemoteError


@pytest.mark.parametrize(("name", "kind"), [("", ValueError), ("x", int), ("x", "ValueError")])
def test_what_is_no_registration_is_refused(name: str, kind: type[Exception]) -> None:
    with pytest.raises(TypeError):
        register_error(name, kind)


def test_the_language_is_told_and_survives_cutting() -> None:
    failure = failure_of(ValueError("x"), encoding="json/plain")
    assert (failure.source, failure.HasField("encoded")) == ("python", False)
    failure.message = "x" * 100_000
    assert bounded_failure(failure).source == "python"
