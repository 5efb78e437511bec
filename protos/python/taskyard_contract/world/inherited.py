"""The world that this process has been given, if it is a worker: what its runs call belongs to the same."""

from collections.abc import Mapping
from typing import Final

NOT_SENT: Final = (
    "the program runs on another machine, and its code was not sent: it says that workers have it "
    '(code = "image"), or its server takes its agents for those of one machine; install the module '
    "where this agent runs, or have the code sent"
)
"""Why a module is missing where nothing came along."""
SENT: Final = (
    "the program runs on another machine; what was sent of its code are modules that it had imported "
    "or names in import statements, and this is none of them; name it under 'include' in [tool.taskyard] of "
    "pyproject.toml there, or install it where this agent runs"
)
"""Why a module is missing where code came along."""


_NONE: Final[Mapping[str, str]] = {}


class _Inherited:
    world: bytes | None = None
    variables: Mapping[str, str] = _NONE
    why_missing: str = ""


_inherited: Final = _Inherited()


def world() -> bytes | None:
    """Return the serialised `World` that this worker serves; None in all other programs."""
    return _inherited.world


def variables() -> Mapping[str, str]:
    """Return what the program of this worker's world has handed over to workers on other machines."""
    return _inherited.variables


def inherit(world: bytes, why_missing: str = "", variables: Mapping[str, str] = _NONE) -> None:
    """Serve a world from now on.

    Args:
        world: The serialised message.
        why_missing: What to say of a module that is not found.
        variables: What its program has handed over.
    """
    _inherited.world = world
    _inherited.variables = variables
    _inherited.why_missing = why_missing


def explain(error: BaseException) -> None:
    """Let an exception say why a module is not here, if that is what it is about."""
    why = _inherited.why_missing
    if why and isinstance(error, ModuleNotFoundError) and why not in getattr(error, "__notes__", ()):
        error.add_note(why)


def why_missing(error: BaseException) -> str:
    """Return why a module is not here; "" when that is not what an exception is about."""
    return _inherited.why_missing if isinstance(error, ModuleNotFoundError) else ""
