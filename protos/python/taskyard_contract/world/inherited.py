"""The world that this process has been given, if it is a worker: what its runs call belongs to the same."""

from typing import Final


class _Inherited:
    world: bytes | None = None


_inherited: Final = _Inherited()


def world() -> bytes | None:
    """Return the serialised `World` that this worker serves; None in all other programs."""
    return _inherited.world


def inherit(world: bytes) -> None:
    """Serve a world from now on."""
    _inherited.world = world
