"""Bundles: the source of a program's modules in an archive, for agents on other machines.

A zip archive whose first entry is a manifest: which of its places are searched for modules, what the
program's ``__main__`` says of itself, and its arguments. The archive is stored like any other blob, by the
control plane and by agents, so there are no variables in it.
"""

import json
from typing import Any, Final, NamedTuple

from taskyard_contract.world.facts import MainFacts

MANIFEST: Final = "taskyard-bundle.json"
MOST_BYTES: Final = 50 * 1024 * 1024
"""Of all files of a bundle before they are packed."""
MOST_FILES: Final = 20_000
_FORMAT: Final = 1


class Manifest(NamedTuple):
    """What a bundle says of its program. Places are names of files and directories in the archive."""

    path: list[str]
    """Places where modules are, in the order in which they are searched."""
    modules: dict[str, str]
    """Modules that are not found along the path, with their places; "" for those without a file."""
    main: MainFacts
    main_place: str
    """Where the file of ``__main__`` is; "" when it is not in the archive."""
    arguments: list[str]


def encode(manifest: Manifest) -> bytes:
    """Write a manifest; equal ones are equal in their bytes."""
    document = {"format": _FORMAT, **manifest._asdict(), "main": manifest.main._asdict()}
    return json.dumps(document, sort_keys=True).encode("ascii")


def decode(data: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        ValueError: It is none, or of another release.
    """
    document: Any = json.loads(data)
    if not isinstance(document, dict) or document.pop("format", None) != _FORMAT:
        raise ValueError("it was packed by another release of Taskyard")
    try:
        return Manifest(**{**document, "main": MainFacts(**document["main"])})
    except (KeyError, TypeError) as error:
        raise ValueError(f"its manifest is none: {error}") from None
