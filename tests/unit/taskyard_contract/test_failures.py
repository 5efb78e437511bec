"""Exceptions travel whole where they can, and in words where they cannot."""

import pickle
import threading

import pytest

from taskyard_api.v1 import failure_pb2
from taskyard_contract.encodings import JSON, PICKLE, decode_payload
from taskyard_contract.failures import failure_of, type_name
from taskyard_contract.wire_failures import CHAIN_LENGTH, ENCODED_LIMIT, TRACEBACK_LIMIT
from taskyard_contract.wire_text import MESSAGE_LIMIT


class Stubborn(Exception):
    """Refuses to be made again."""

    def __new__(cls, *args: int) -> "Stubborn":
        if len(args) != 2:
            raise RuntimeError("two, please")
        return super().__new__(cls, *args)

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} {two}")


class Coded(Exception):
    """Its constructor wants other arguments than those it hands on, as in most programs."""

    def __init__(self, code: int, *, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.lock = threading.Lock()


class Wordless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Exiting(Exception):
    """Ends the program wherever somebody wants to know something of it."""

    def __init__(self, kind: type[BaseException]) -> None:
        super().__init__()
        self.kind = kind

    def __str__(self) -> str:
        raise self.kind

    def __reduce__(self) -> str:
        raise self.kind


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except type(error) as caught:
        return caught


def test_an_exception_comes_back_as_it_was() -> None:
    failure = failure_of(raised(KeyError("k")))
    back = decode_payload(failure.encoded, None)
    assert isinstance(back, KeyError)
    assert back.args == ("k",)
    assert failure.type == "KeyError"
    assert "raise error from cause" in failure.traceback


def test_an_exception_with_a_constructor_of_its_own_comes_back_too() -> None:
    failure = failure_of(raised(Coded(7, detail="seven")))
    back = decode_payload(failure.encoded, None)
    assert isinstance(back, Coded)
    assert (str(back), back.code) == ("7: seven", 7)
    assert not hasattr(back, "lock"), "what cannot travel stays behind"


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_failure_is_written_although_the_exception_exits(kind: type[BaseException]) -> None:
    failure = failure_of(raised(Exiting(kind)))
    assert failure.type.endswith(".Exiting")
    assert kind.__name__ in failure.message
    assert isinstance(decode_payload(failure.encoded, None), Exiting), "its parts can be pickled"


def test_what_a_signal_handler_raises_is_not_lost_while_a_failure_is_written() -> None:
    class Terminated(BaseException):
        pass

    with pytest.raises(Terminated):
        failure_of(raised(Exiting(Terminated)))


@pytest.mark.parametrize("cause", [property(lambda self: 1 / 0), 5], ids=["raises", "is none"])
def test_a_failure_is_written_although_the_exception_does_not_tell_its_cause(cause: object) -> None:
    kind = type("Secretive", (Exception,), {"__cause__": cause})
    failure = failure_of(kind("words"))
    assert (failure.message, failure.HasField("cause")) == ("words", False)


def test_causes_come_along() -> None:
    failure = failure_of(raised(ValueError("outer"), OSError("inner")))
    assert (failure.cause.type, failure.cause.message) == ("OSError", "inner")


def test_a_long_chain_is_cut() -> None:
    error = raised(ValueError("0"))
    for number in range(20):
        error = raised(ValueError(str(number)), error)
    failure, depth = failure_of(error), 0
    while failure.HasField("cause"):
        failure, depth = failure.cause, depth + 1
    assert depth == CHAIN_LENGTH


@pytest.mark.parametrize("error", [Stubborn(1, 2), ValueError(lambda: 1)])
def test_words_remain_of_what_cannot_travel(error: Exception) -> None:
    failure = failure_of(raised(error))
    if isinstance(error, Stubborn):
        assert not failure.HasField("encoded")
    assert failure.message
    assert len(failure.message.encode()) <= MESSAGE_LIMIT + 3
    assert len(failure.traceback.encode()) <= TRACEBACK_LIMIT + 3


def test_an_exception_without_words_is_still_described() -> None:
    failure = failure_of(raised(Wordless()))
    assert failure.message == "<Wordless, whose text could not be made: RuntimeError>"


def test_what_was_being_handled_is_a_cause_unless_it_was_hidden() -> None:
    def while_handling(hidden: bool) -> BaseException:
        try:
            try:
                raise OSError("inner")
            except OSError:
                if hidden:
                    raise ValueError("outer") from None
                raise ValueError("outer")  # noqa: B904  # this is what is tested
        except ValueError as error:
            return error

    assert failure_of(while_handling(False)).cause.type == "OSError"
    assert not failure_of(while_handling(True)).HasField("cause")


def test_exceptions_in_a_circle_end() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__context__, other.__context__ = other, one
    assert failure_of(one, causes=1).cause.message == "other"
    assert failure_of(one).ByteSize() > 0


def test_only_readers_of_pickles_get_the_object() -> None:
    error = raised(ValueError("outer"), OSError("inner"))
    failure = failure_of(error, encoding=JSON)
    assert not failure.HasField("encoded")
    assert not failure.cause.HasField("encoded")
    assert failure_of(error, encoding=PICKLE).cause.HasField("encoded")


@pytest.mark.parametrize(("over", "whole"), [(0, True), (1, False)])
def test_an_object_travels_up_to_the_limit(over: int, whole: bool) -> None:
    length = ENCODED_LIMIT - len(pickle.dumps(ValueError("x" * 1000), 5)) + 1000 + over
    (text,) = encoded_in(failure_of(ValueError("x" * length))).args
    assert (len(text) == length) is whole


class Report(RuntimeError):
    """An exception with parts of its own, some of them large."""

    def __init__(self, code: int, page: str, table: bytes) -> None:
        super().__init__(code, page, table)
        self.code = code
        self.page = page
        self.table = table

    def __str__(self) -> str:
        return self.page


def encoded_in(failure: failure_pb2.Failure) -> BaseException:
    error = pickle.loads(failure.encoded.data)
    assert isinstance(error, BaseException)
    return error


def test_an_exception_with_a_text_of_megabytes_is_still_caught_by_its_type() -> None:
    failure = failure_of(raised(ValueError("x" * 2_000_000)))
    error = encoded_in(failure)
    assert type(error) is ValueError
    assert str(error) == "x" * MESSAGE_LIMIT + "..."
    assert failure.encoded.ByteSize() <= ENCODED_LIMIT


def test_of_a_large_exception_small_parts_stay_and_texts_are_cut() -> None:
    error = encoded_in(failure_of(raised(Report(7, "p" * 100_000, b"t" * 1_000_000))))
    assert isinstance(error, Report)
    assert (error.code, error.page[:3], error.page[-3:]) == (7, "ppp", "...")
    assert len(str(error)) < ENCODED_LIMIT
    assert not hasattr(error, "table")
    assert error.args[0] == 7
    assert error.args[2].startswith("b'ttt")


class Mute(RuntimeError):
    """An exception whose words are in what is left out."""

    def __init__(self, table: bytes) -> None:
        super().__init__()
        self.table = table

    def __str__(self) -> str:
        return f"{len(self.table)} bytes"


def test_words_remain_of_a_large_exception_that_has_none_without_its_parts() -> None:
    failure = failure_of(raised(Mute(b"t" * 1_000_000)))
    assert not failure.HasField("encoded")
    assert failure.message == "1000000 bytes"


def test_an_exception_with_thousands_of_large_arguments_fits() -> None:
    failure = failure_of(raised(ValueError(*["x" * 1000] * 5000)))
    assert type(encoded_in(failure)) is ValueError
    assert failure.encoded.ByteSize() <= ENCODED_LIMIT


def test_text_that_is_no_text_can_be_sent() -> None:
    assert failure_of(ValueError("\udc80")).message == "\\udc80"


def test_classes_are_named_with_their_module_unless_they_are_built_in() -> None:
    assert type_name(KeyError()) == "KeyError"
    assert type_name(pickle.PicklingError()) == "_pickle.PicklingError"


def test_what_pickles_is_named_durably() -> None:
    assert b"taskyard_contract.durable_names" in failure_of(Coded(7, detail="seven")).encoded.data


class Empty(Exception):
    def __len__(self) -> int:
        return 0


class Untruthful(Exception):
    def __bool__(self) -> bool:
        raise RuntimeError("neither")


@pytest.mark.parametrize("cause", [Empty(), Untruthful()])
def test_a_cause_counts_whatever_its_truth(cause: Exception) -> None:
    assert failure_of(raised(ValueError("v"), cause)).cause.type == type_name(cause)


def test_a_class_whose_module_is_no_text_is_named() -> None:
    odd = type("Odd", (Exception,), {"__module__": "m\udcff"})
    assert failure_of(raised(odd("o"))).type == "m\\udcff.Odd"
