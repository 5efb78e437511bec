"""How user data is labelled. Nothing here looks inside it.

Results are bare bytes when they are in the encoding that nearly all of them have, and payloads, which name
their encoding, when they are in any other. So whoever gets bare bytes knows what they are without being told,
and what one language wrote is never read as if it were another one's: to read a pickle is to execute code.
"""

from typing import Final

from taskyard_api.v1 import common_pb2, failure_pb2
from taskyard_contract.errors import InvalidRequest
from taskyard_contract.wire_text import NAME_LIMIT
from taskyard_controlplane.domain.model import BARE_ENCODING

SIGNATURE_LIMIT: Final = 4 * 1024
"""Of any algorithm in use, several times over."""


def label_of(payload: common_pb2.Payload, encoding: str) -> bytes | None:
    """Return what has to be kept of arguments beside their bytes; None when a template says all of it.

    Args:
        payload: The arguments.
        encoding: Those of the template are in this one.
    """
    told = payload.encoding in ("", encoding) and not (payload.type or payload.key_id or payload.signature)
    if told and not (payload.HasField("blob") or payload.values):
        return None
    label = common_pb2.Payload()
    label.CopyFrom(payload)
    label.encoding = payload.encoding or encoding
    label.ClearField("data")
    return label.SerializeToString()


def check_label(payload: common_pb2.Payload, field: str) -> None:
    """Check what a payload says of itself.

    Raises:
        InvalidRequest: A part of it is too long.
    """
    for name, size, limit in (
        ("encoding", len(payload.encoding.encode()), NAME_LIMIT),
        ("type", len(payload.type.encode()), NAME_LIMIT),
        ("key_id", len(payload.key_id.encode()), NAME_LIMIT),
        ("signature", len(payload.signature), SIGNATURE_LIMIT),
    ):
        if size > limit:
            raise InvalidRequest(
                f"{field}.{name} has {size:,} bytes; at most {limit:,} are taken",
                limit=limit,
                field=f"{field}.{name}",
            )


def without_encoded(failure: failure_pb2.Failure) -> failure_pb2.Failure:
    """Return a failure without the objects that executing code would bring back; itself when it has none."""
    if not (failure.HasField("encoded") or failure.HasField("cause")):
        return failure
    plain = failure_pb2.Failure()
    plain.CopyFrom(failure)
    link = plain
    while True:
        if link.encoded.encoding == BARE_ENCODING:
            link.ClearField("encoded")
        if not link.HasField("cause"):
            return plain
        link = link.cause
