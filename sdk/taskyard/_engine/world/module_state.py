"""What this program has made of its modules, ready to travel; `module_changes` says where that is looked for.

Invariant: of a module either all that was changed goes to workers, or nothing, with a warning: half of it
might be worse than none (a flag that something was prepared, without what was prepared).
"""

import hashlib
import time
from collections.abc import Iterable
from types import ModuleType
from typing import Final, NamedTuple

from taskyard._engine.world.module_changes import (
    REGISTER,
    ModuleChanges,
    Place,
    in_order,
    is_own,
    registered_by_main,
    value_at,
)
from taskyard._engine.world.seen import PAUSE_NS, Look, Seen, flow_number, seen_at
from taskyard.logging import get_logger
from taskyard_contract import pickling
from taskyard_contract.parts import making
from taskyard_contract.world.module_parts import ModulePart

MOST_BYTES: Final = 1024 * 1024
"""Of one part. What is larger is data, not an option."""
_PAUSE: Final = 200
"""Between two looks for places, in times that one takes."""
_PAUSE_OF_FLOWS: Final = 3
"""The same when a flow begins: hundreds may in a second."""


class KeptPart(NamedTuple):
    """A part of a module, with what it was made of."""

    part: ModulePart
    names: tuple[str, ...]
    """Names of ``__main__`` that it refers to."""
    seen: Seen

    def with_contents(self, contents: Iterable[bytes]) -> "KeptPart":
        """Return it as another one for each content of what it refers to."""
        content = hashlib.sha256(b"".join((self.part.content, *contents))).digest()
        return self._replace(part=self.part._replace(content=content)) if self.names else self


class ModuleState:
    """What was changed in modules when it was looked for last."""

    def __init__(self) -> None:
        """Have looked for nothing yet."""
        self._changes = ModuleChanges()
        self._places: list[Place] = []
        self._looked_for = -1
        self._due = self._due_for_flows = 0.0
        self._kept: dict[Place, KeptPart] = {}
        self._said: set[str] = set()

    def parts(self) -> tuple[list[KeptPart], Seen]:
        """Return the parts of modules that workers need, and what notices that others were changed."""
        places = self._find()
        parts: list[KeptPart] = []
        left_out: set[str] = set()
        for place in places:
            try:
                parts += self._part_of(place)
            except Exception as error:  # pickling runs foreign code, which may raise anything
                left_out.add(place.module)
                self.say_left_out(place.module, place.path, error)
        watched = Look(PAUSE_NS, lambda: self._find() == places, is_dear=True)
        return [one for one in parts if one.part.module not in left_out], Seen(later=[watched])

    def say_left_out(self, module: str, path: tuple[str, ...], error: Exception) -> None:
        """Say, once, that workers do not have what was changed in a module."""
        if module in self._said:
            return
        self._said.add(module)
        get_logger("world").warning(
            "this program sets '%s', which cannot be sent to workers (%s): they have '%s' as it is "
            "when it is imported; change it in the tasks as well, or in a module that they import",
            ".".join((module, *path)),
            error,
            module,
        )

    def _find(self) -> list[Place]:
        """Look for places, unless that was done for this flow and a moment ago."""
        began, number = time.monotonic(), flow_number()
        if began >= (self._due if number == self._looked_for else self._due_for_flows):
            # What is as it was again has to be so in workers, too.
            self._places = in_order({*self._changes.places(), *self._kept})
            ended = time.monotonic()
            self._looked_for = number
            self._due = ended + _PAUSE * (ended - began)
            self._due_for_flows = ended + _PAUSE_OF_FLOWS * (ended - began)
        return self._places

    def _part_of(self, place: Place) -> list[KeptPart]:
        """Return the part at a place, if something is there that travels."""
        if not place.path:
            return [KeptPart(ModulePart(place.module, (), b"", b""), (), Seen())]
        kept = self._kept.get(place)
        if kept is None or not kept.seen.holds():
            try:
                value = place.value()
            except (AttributeError, KeyError):
                # A name that means something else where it stands, or one that was taken away again.
                return [_own(place, None)] if kept is not None else []
            if isinstance(value, ModuleType):
                return []
            if place.path[-1] == REGISTER:
                return [_registrations(place)]
            kept = _own(place, value) if is_own(place, value) else _packed(place, value)
            self._kept[place] = kept
        return [kept]


def _own(place: Place, value: object) -> KeptPart:
    """Return a part that says that a module has there what it had when it was imported."""
    seen = Seen(later=[Look(PAUSE_NS, lambda: value_at(place) is value)])
    return KeptPart(ModulePart(place.module, place.path, b"own", b""), (), seen)


def _registrations(place: Place) -> KeptPart:
    """Return what of the script is registered with a class, or a function, of a module."""
    owner = Place(place.module, place.path[:-1])

    def registered() -> list[tuple[object, ...]]:
        return registered_by_main(value_at(owner))

    before = registered()
    packed = pickling.pickled(making.registrations(*owner, before))
    part = ModulePart(*place, packed.entry.content, packed.entry.data)
    return KeptPart(part, packed.entry.names, Seen(later=[Look(PAUSE_NS, lambda: registered() == before)]))


def _packed(place: Place, value: object) -> KeptPart:
    packed = pickling.pickled(value)
    data = packed.entry.data
    if len(data) > MOST_BYTES:
        raise ValueError(f"it takes {len(data):,} bytes, {MOST_BYTES:,} are sent at most")
    name = ".".join((place.module, *place.path))
    seen = seen_at(lambda: value_at(place), packed, value, name)
    part = ModulePart(place.module, place.path, packed.entry.content, data)
    return KeptPart(part, packed.entry.names, seen)
