"""Values on their way through the control plane, which never looks inside them.

Invariant: what is encoded here, `decode` of any later version reads, by the encoding's name; and nothing is
decoded in an encoding that nobody named, because reading a pickle executes code. Whoever did not send pickles
does not get any read either: see `is_expected`.
"""

from collections.abc import Callable
from typing import Any, Final

from taskyard_api.v1 import common_pb2
from taskyard_contract import pickling
from taskyard_contract.languages.encoding_names import BINARY as BINARY
from taskyard_contract.languages.encoding_names import BUFFERS as BUFFERS
from taskyard_contract.languages.encoding_names import JSON as JSON
from taskyard_contract.languages.encoding_names import JSON_PROTOBUF as JSON_PROTOBUF
from taskyard_contract.languages.encoding_names import PICKLE as PICKLE
from taskyard_contract.languages.encoding_names import PROTOBUF as PROTOBUF
from taskyard_contract.values.layout import parts_of

encode = pickling.dumps
"""Write a value of a Python program: the function itself, because every result passes here."""


def _read_json(data: bytes) -> Any:
    # Programs whose values are pickles need not wait for its import, here and below.
    from taskyard_contract.languages import json_values

    return json_values.loads(data)


def _read_laid_out(data: bytes | memoryview) -> Any:
    view = memoryview(data)
    stream, buffers = parts_of(memoryview(bytearray(view)) if view.readonly else view)
    return pickling.loads(stream, buffers=buffers)


_DECODERS: Final[dict[str, Callable[[Any], Any]]] = {
    PICKLE: pickling.loads,
    BUFFERS: _read_laid_out,
    JSON: _read_json,
    BINARY: bytes,
}
_PICKLES: Final = frozenset({PICKLE, BUFFERS})
_MESSAGES: Final = frozenset({PROTOBUF, JSON_PROTOBUF})
KNOWN: Final = (*_DECODERS, PROTOBUF, JSON_PROTOBUF)
"""Everything that `decode` reads."""


def is_expected(encoding: str, encoding_of_arguments: str) -> bool:
    """Whether something in an encoding may be read for a run whose template says how arguments are encoded.

    Everything known, but pickles only by runs whose own arguments are pickles: all others are promised that
    nothing which they are sent is executed.
    """
    return encoding in KNOWN and (encoding not in _PICKLES or encoding_of_arguments == PICKLE)


def encode_as(value: Any, encoding: str) -> bytes:
    """Write a value in the encoding that a template asks for.

    Raises:
        ValueError: The encoding is unknown here.
        TypeError: It has no form for such a value; `json_values.NotJson` says which part of it.
        pickle.PicklingError, AttributeError: The value cannot be pickled.
    """
    if encoding == PICKLE:
        return encode(value)
    if encoding == JSON:
        from taskyard_contract.languages import json_values

        return json_values.dumps(value)
    if encoding == BINARY:
        return bytes(memoryview(value))  # of bytes and their like only: bytes(3) would be three zeros
    if encoding in _MESSAGES:
        return _encoded_message(value, encoding)
    raise _unknown(encoding)


def payload_of(value: Any, encoding: str) -> common_pb2.Payload:
    """Write a value as a payload, with its type where the encoding needs one.

    Raises:
        ValueError, TypeError, pickle.PicklingError, AttributeError: See `encode_as`.
    """
    payload = common_pb2.Payload(encoding=encoding, data=encode_as(value, encoding))
    if encoding in _MESSAGES:
        payload.type = value.DESCRIPTOR.full_name
    return payload


def refusal_of(value: Any, encoding: str, error: BaseException) -> str:
    """Say why a value that a run returned could not be written, and what to do."""
    from taskyard_contract.languages.json_values import NotJson

    kind = type(value).__qualname__
    if isinstance(error, NotJson):
        where = f"result{error.path}" if error.path else "result"
        return f"the function returned a value that JSON cannot hold: {where}: {error.why}; return what can"
    if encoding == BINARY:
        return f"the function returned a value of type {kind}, where only bytes are a result; return bytes"
    return f"the function returned a {kind} that cannot be written as '{encoding}' ({error}); return what can"


def has_type(encoding: str) -> bool:
    """Whether what is in an encoding can be read only together with the name of its type."""
    return encoding in _MESSAGES


def decode(data: bytes | memoryview, encoding: str = PICKLE, type_name: str = "") -> Any:
    """Return the value that was encoded.

    Args:
        data: The bytes; of what was laid out, arrays are in this memory, if it can be written to.
        encoding: Their encoding.
        type_name: The name of the message, where the encoding is one of messages.

    Raises:
        ValueError: The encoding is unknown here, or the type is, or the data is damaged.
    """
    if type(data) is not bytes and encoding not in _PICKLES:
        data = bytes(data)
    decoder = _DECODERS.get(encoding)
    if decoder is not None:
        return decoder(data)
    if encoding in _MESSAGES:
        return _decoded_message(data, encoding, type_name)
    raise _unknown(encoding)


def decode_payload(
    payload: common_pb2.Payload, fetch: Callable[[common_pb2.BlobRef], bytes | memoryview] | None
) -> Any:
    """Return the value of a payload; `fetch` reads blobs. An empty payload stands for None."""
    body = payload.WhichOneof("body")
    if body is None:
        return None
    if body == "data":
        return decode(payload.data, payload.encoding, payload.type)
    if fetch is None:
        raise ValueError("the value is stored as a blob and there is no connection to read it")
    return decode(fetch(payload.blob), payload.encoding, payload.type)


def _encoded_message(value: Any, encoding: str) -> bytes:
    from google.protobuf.json_format import MessageToJson
    from google.protobuf.message import Message

    if not isinstance(value, Message):
        raise TypeError(f"a {type(value).__qualname__} is no message of protobuf")
    if encoding == PROTOBUF:
        return value.SerializeToString()
    return MessageToJson(value, indent=None).encode()


def _decoded_message(data: Any, encoding: str, type_name: str) -> Any:
    from google.protobuf import descriptor_pool, json_format, message_factory
    from google.protobuf.message import DecodeError

    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(type_name)
    except KeyError:
        raise ValueError(f"the message type '{type_name}' is not known here; import its module") from None
    message = message_factory.GetMessageClass(descriptor)()
    try:
        if encoding == PROTOBUF:
            message.ParseFromString(data)
        else:
            json_format.Parse(data, message)
    except (DecodeError, json_format.ParseError, UnicodeDecodeError) as error:
        raise ValueError(f"the data is no '{type_name}': {error}") from error
    return message


def _unknown(encoding: str) -> ValueError:
    return ValueError(
        f"a value has the encoding '{encoding}', which is unknown here; use {', '.join(_DECODERS)}"
    )
