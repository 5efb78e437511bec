"""Exceptions travel whole where they can, and in words where they cannot."""

import threading

import pytest

from taskyard._data.runs.recorded import exception_of
from taskyard._data.values.failures import TRACEBACK_LIMIT, failure_of, message_of
from taskyard_contract.encodings import decode_payload
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


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except type(error) as caught:
        return caught


def test_an_exception_comes_back_as_it_was() -> None:
    failure = failure_of(raised(KeyError("k")))
    back = exception_of(failure, lambda payload: decode_payload(payload, None))
    assert isinstance(back, KeyError)
    assert back.args == ("k",)
    assert failure.type == "KeyError"
    assert "raise error from cause" in failure.traceback


def test_an_exception_with_a_constructor_of_its_own_comes_back_too() -> None:
    failure = failure_of(raised(Coded(7, detail="seven")))
    back = exception_of(failure, lambda payload: decode_payload(payload, None))
    assert isinstance(back, Coded)
    assert (str(back), back.code) == ("7: seven", 7)
    assert not hasattr(back, "lock"), "what cannot travel stays behind"


def test_a_failure_without_frames_gets_no_note() -> None:
    back = exception_of(failure_of(ValueError("never raised")), lambda payload: decode_payload(payload, None))
    assert not hasattr(back, "__notes__")


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
    assert depth == 4


@pytest.mark.parametrize("error", [Stubborn(1, 2), ValueError("x" * 100_000), ValueError(lambda: 1)])
def test_words_remain_of_what_cannot_travel(error: Exception) -> None:
    failure = failure_of(raised(error))
    if isinstance(error, Stubborn) or len(str(error)) > 1000:
        assert not failure.HasField("encoded")
    assert failure.message
    assert len(failure.message.encode()) <= MESSAGE_LIMIT + 3
    assert len(failure.traceback.encode()) <= TRACEBACK_LIMIT + 3


def test_an_exception_without_words_is_still_described() -> None:
    assert "Wordless" in failure_of(raised(Wordless())).message


def test_b3_the_message_names_type_and_text() -> None:
    assert message_of(ValueError("bad")) == "Task run encountered an exception ValueError: bad"
    assert message_of(KeyError(), "Flow") == "Flow run encountered an exception KeyError"
