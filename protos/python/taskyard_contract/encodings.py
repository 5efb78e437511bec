"""Values on their way through the control plane, which never looks inside them.

Invariant: what is encoded here, `decode` of any later version reads, by the encoding's name; and nothing is
decoded in an encoding that nobody named, because reading a pickle executes code.
"""

import json
from collections.abc import Callable
from typing import Any, Final

from taskyard_api.v1 import common_pb2
from taskyard_contract import pickling

PICKLE: Final = pickling.ENCODING
JSON: Final = "json/plain"
BINARY: Final = "binary/plain"

encode = pickling.dumps
"""Write a value of a Python program: the function itself, because every result passes here."""

_DECODERS: Final[dict[str, Callable[[bytes], Any]]] = {
    PICKLE: pickling.loads,
    JSON: json.loads,
    BINARY: bytes,
}


def encode_as(value: Any, encoding: str) -> bytes:
    """Write a value in the encoding that a template asks for.

    Raises:
        ValueError: The encoding is unknown here.
        TypeError: It has no form for such a value.
        pickle.PicklingError, AttributeError: The value cannot be pickled.
    """
    if encoding == PICKLE:
        return encode(value)
    if encoding == JSON:
        return json.dumps(value, separators=(",", ":")).encode()
    if encoding == BINARY:
        return bytes(memoryview(value))  # of bytes and their like only: bytes(3) would be three zeros
    raise _unknown(encoding)


def decode(data: bytes, encoding: str = PICKLE) -> Any:
    """Return the value that was encoded.

    Raises:
        ValueError: The encoding is unknown here.
    """
    decoder = _DECODERS.get(encoding)
    if decoder is None:
        raise _unknown(encoding)
    return decoder(data)


def decode_payload(payload: common_pb2.Payload, fetch: Callable[[common_pb2.BlobRef], bytes] | None) -> Any:
    """Return the value of a payload; `fetch` reads blobs. An empty payload stands for None."""
    body = payload.WhichOneof("body")
    if body is None:
        return None
    if body == "blob":
        if fetch is None:
            raise ValueError("the value is stored as a blob and there is no connection to read it")
        return decode(fetch(payload.blob), payload.encoding)
    return decode(payload.data, payload.encoding)


def _unknown(encoding: str) -> ValueError:
    return ValueError(
        f"a value has the encoding '{encoding}', which is unknown here; use {', '.join(_DECODERS)}"
    )
