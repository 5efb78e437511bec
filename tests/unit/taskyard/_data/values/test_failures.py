"""What a state says of the exception that ended its run."""

import asyncio

from taskyard._data.runs.recorded import exception_of
from taskyard._data.values.failures import interruption_of, message_of
from taskyard.exceptions import TerminationSignal
from taskyard_contract.encodings import decode_payload
from taskyard_contract.failures import failure_of


def test_b3_the_message_names_type_and_text() -> None:
    assert message_of(ValueError("bad")) == "Task run encountered an exception ValueError: bad"
    assert message_of(KeyError(), "Flow") == "Flow run encountered an exception KeyError"


def test_interruptions_are_told_in_words() -> None:
    assert "interrupt signal" in interruption_of(KeyboardInterrupt())
    assert "system exit call" in interruption_of(SystemExit(1))
    assert "termination signal" in interruption_of(TerminationSignal(15))
    assert "asyncio.exceptions.CancelledError" in interruption_of(asyncio.CancelledError())


def test_a_failure_without_frames_gets_no_note() -> None:
    back = exception_of(failure_of(ValueError("never raised")), lambda payload: decode_payload(payload, None))
    assert not hasattr(back, "__notes__")
