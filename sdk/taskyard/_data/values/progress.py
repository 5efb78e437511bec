"""What runs say of their progress, on its way to people and to the next attempt.

Both read it, so it is JSON wherever it can be; only a run that was called with pickles may say more than JSON
holds, because then its next attempt reads pickles too.
"""

from typing import Any

from taskyard.exceptions import NotSerializable, PayloadTooLarge
from taskyard_api.v1 import common_pb2
from taskyard_contract.encodings import JSON, PICKLE, decode_payload, is_expected, payload_of
from taskyard_contract.failures import text_of
from taskyard_contract.languages.json_values import NotJson
from taskyard_contract.payload_limits import MAX_INLINE_BYTES


def details_of(value: Any, arguments: str) -> common_pb2.Payload:
    """Write details of a run's progress.

    Args:
        value: The details.
        arguments: The encoding of the run's arguments.

    Raises:
        NotSerializable: They have no form in JSON, and the run reads nothing else, or they cannot be pickled.
        PayloadTooLarge: They are larger than what travels inside a frame.
    """
    try:
        payload = payload_of(value, JSON)
    except NotJson as error:
        if arguments != PICKLE:
            raise NotSerializable(f"details of progress are JSON: {error}") from None
        payload = _pickled(value)
    if len(payload.data) > MAX_INLINE_BYTES:
        raise PayloadTooLarge(
            f"details of progress have {len(payload.data):,} bytes, at most {MAX_INLINE_BYTES:,} are taken;"
            " say where more of it is",
            limit=MAX_INLINE_BYTES,
        )
    return payload


def _pickled(value: Any) -> common_pb2.Payload:
    try:
        return payload_of(value, PICKLE)
    except Exception as error:  # pickling runs foreign code
        raise NotSerializable(f"details of progress cannot be pickled: {text_of(error)}") from error


def told_details(payload: common_pb2.Payload, arguments: str) -> Any:
    """Read what the attempt before has said; None where it is in an encoding that the run does not read."""
    return decode_payload(payload, None) if is_expected(payload.encoding, arguments) else None
