"""Messages made from the contract's descriptors: nothing here knows any of them by name."""

import itertools
from collections.abc import Iterator
from importlib import import_module
from random import Random
from typing import Any, Final

from fuzz import values
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from taskyard_api.v1 import agent_service_pb2

SERVICES: Final = (
    *("admin_service", "agent_service", "blob_service", "document_service", "run_service", "session_service"),
)
MAX_DEPTH: Final = 7
DEEPER: Final = 90
"""Causes inside causes, for example; parsers stop at 100."""
_SIZES: Final = {
    FieldDescriptor.TYPE_INT32: (32, True), FieldDescriptor.TYPE_SINT32: (32, True),
    FieldDescriptor.TYPE_SFIXED32: (32, True), FieldDescriptor.TYPE_UINT32: (32, False),
    FieldDescriptor.TYPE_FIXED32: (32, False), FieldDescriptor.TYPE_INT64: (64, True),
    FieldDescriptor.TYPE_SINT64: (64, True), FieldDescriptor.TYPE_SFIXED64: (64, True),
    FieldDescriptor.TYPE_UINT64: (64, False), FieldDescriptor.TYPE_FIXED64: (64, False),
}  # fmt: skip


def methods() -> list[MethodDescriptor]:
    """Every method of every service of the contract."""
    files = (import_module(f"taskyard_api.v1.{name}_pb2").DESCRIPTOR for name in SERVICES)
    services = itertools.chain.from_iterable(file.services_by_name.values() for file in files)
    return [method for service in services for method in service.methods]


class Maker:
    """Makes messages of any type."""

    def __init__(self, random: Random) -> None:
        """Draw everything from `random`."""
        self._random = random
        self._identity: dict[str, Any] = {}

    def _introduce(self) -> None:
        """Be one of a few agents, or sessions, with one blob, for as long as one message or stream lasts."""
        who = self._random.randrange(4)
        content = self._random.randrange(len(values.CONTENTS))
        self._identity = {
            "agent_id": f"agent-{who}",
            "session_id": values.IDS[who],
            # Of the blob that is spoken of.
            "digest": values.DIGESTS[content],
            "size": len(values.CONTENTS[content]),
            "part": values.CONTENTS[content],
            "data": values.CONTENTS[content],
        }

    def message(self, descriptor: Descriptor, wild: float, depth: int = 0) -> Message:
        """Make a message; `wild` is how likely each of its values is out of place."""
        made = GetMessageClass(descriptor)()
        for field in descriptor.fields:
            likely = 0.97 if field.name in values.NEEDED and wild < 0.5 else 0.75 if depth < 2 else 0.4
            if depth < MAX_DEPTH and self._random.random() < likely:
                self._fill(made, field, wild, depth)
        return made

    def _fill(self, message: Message, field: FieldDescriptor, wild: float, depth: int) -> None:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            entries = getattr(message, field.name)
            for _ in range(self._random.randint(0, 3)):
                entries[values.text(self._random)] = values.text(self._random)
        elif field.is_repeated:
            self._fill_list(getattr(message, field.name), field, wild, depth)
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(self._nested(field.message_type, wild, depth))
        else:
            setattr(message, field.name, self._value(field, wild))

    def _fill_list(self, entries: Any, field: FieldDescriptor, wild: float, depth: int) -> None:
        count = self._random.randint(0, 3)
        if self._random.random() < wild / 20:
            count = 3_000 if field.message_type is None else 200
        if field.message_type is None:
            entries.extend([self._value(field, wild) for _ in range(count)])
        elif count > 3:
            one = self.message(field.message_type, wild, MAX_DEPTH - 1)
            entries.extend([one] * count)
        else:
            entries.extend([self.message(field.message_type, wild, depth + 1) for _ in range(count)])

    def _nested(self, descriptor: Descriptor, wild: float, depth: int) -> Message:
        made = self.message(descriptor, wild, depth + 1)
        into_itself = [field for field in descriptor.fields if field.message_type is descriptor]
        if into_itself and depth < 3 and self._random.random() < wild / 2:
            made = GetMessageClass(descriptor)()
            for _ in range(self._random.randint(2, DEEPER)):
                outer = GetMessageClass(descriptor)()
                _put(outer, into_itself[0], made)
                made = outer
        return made

    def _value(self, field: FieldDescriptor, wild: float) -> Any:
        random, kind = self._random, field.type
        if field.name in self._identity and random.random() >= 0.01 + wild / 3:
            return self._identity[field.name]
        words = values.WORDS.get(field.name) if kind == FieldDescriptor.TYPE_STRING else None
        right = words or values.RIGHT.get(field.name)
        if (
            right
            and random.random() >= 0.01 + wild
            and isinstance(right[0], _PYTHON.get(field.cpp_type, object))
        ):
            return random.choice(right)
        if field.name in _ENCODED and random.random() >= wild:
            return self.message(_ENCODED[field.name].DESCRIPTOR, wild, 1).SerializeToString()
        if kind == FieldDescriptor.TYPE_BYTES:
            return values.octets(random, field.name, wild)
        if kind == FieldDescriptor.TYPE_STRING:
            return values.text(random)
        if kind == FieldDescriptor.TYPE_BOOL:
            return random.random() < 0.3
        if kind == FieldDescriptor.TYPE_ENUM:
            known = [value.number for value in field.enum_type.values]
            return random.choice([999, -1, 2**31 - 1]) if random.random() < wild / 3 else random.choice(known)
        if kind in _SIZES:
            return values.number(random, *_SIZES[kind])
        return random.choice(values.FLOATS)

    def garbled(self, encoded: bytes) -> bytes:
        """Change some bytes of an encoded message, cut it, or return something else altogether."""
        random, changed = self._random, bytearray(encoded)
        for _ in range(random.randint(0, 4)):
            if changed:
                changed[random.randrange(len(changed))] = random.randrange(256)
        if random.random() < 0.3:
            del changed[random.randint(0, len(changed)) :]
        return bytes(changed) if random.random() < 0.8 else random.randbytes(random.choice(values.LENGTHS))

    def encoded(self, descriptor: Descriptor) -> bytes:
        """Make a message as bytes: right, out of place here and there, or broken."""
        self._introduce()
        wild = self._random.choice([0.0, 0.0, 0.05, 0.2, 1.0])
        made = self.message(descriptor, wild).SerializeToString()
        return self.garbled(made) if self._random.random() < 0.15 else made

    def frames(self, descriptor: Descriptor) -> Iterator[bytes]:
        """Make what one peer sends on a stream: an introduction, nearly always, and whatever follows it."""
        self._introduce()
        made = GetMessageClass(descriptor)()
        hello = descriptor.fields_by_name.get("hello")
        if hello is not None and self._random.random() < 0.9:
            made.hello.CopyFrom(self.message(hello.message_type, self._random.choice([0.0, 0.0, 0.0, 0.3])))  # type: ignore[attr-defined]
            yield made.SerializeToString()
        for _ in range(self._random.choice([0, 1, 2, 4, 12])):
            frame = self.message(descriptor, self._random.choice([0.0, 0.02, 0.1, 1.0]))
            for name in ("hello", "goodbye", "draining"):
                if name in descriptor.fields_by_name and self._random.random() < 0.95:
                    frame.ClearField(name)
            encoded = frame.SerializeToString()
            yield self.garbled(encoded) if self._random.random() < 0.02 else encoded


_ENCODED: Final[dict[str, type[Message]]] = {"columns": agent_service_pb2.ReportColumns}
"""Bytes that are messages themselves."""
_PYTHON: Final[dict[int, type]] = {
    FieldDescriptor.CPPTYPE_STRING: (str, bytes),  # type: ignore[dict-item]
    FieldDescriptor.CPPTYPE_INT32: int, FieldDescriptor.CPPTYPE_INT64: int,
    FieldDescriptor.CPPTYPE_UINT32: int, FieldDescriptor.CPPTYPE_UINT64: int,
}  # fmt: skip


def _put(outer: Message, field: FieldDescriptor, inner: Message) -> None:
    into = getattr(outer, field.name)
    if field.is_repeated:
        into.append(inner)
    else:
        into.CopyFrom(inner)
