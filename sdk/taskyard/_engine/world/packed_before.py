"""What earlier programs on this machine have packed: an unchanged project need not be packed again.

Only names: the archives themselves are with the control plane, and one that is not there is packed again.
"""

import json
import os
from contextlib import suppress
from typing import Final, NamedTuple

from taskyard import settings
from taskyard_contract.programs.home_directory import HomeUnusable
from taskyard_contract.programs.private_files import make_directory, opener

MOST_KEPT: Final = 64
_FILE: Final = "bundles.json"


class Bundle(NamedTuple):
    """An archive."""

    digest: bytes
    size: int


def find(content: bytes) -> Bundle | None:
    """Return what was packed of some content, if that is known."""
    match _read().get(content.hex()):
        case [str(digest), int(size)]:
            with suppress(ValueError):
                return Bundle(bytes.fromhex(digest), size)
    return None


def note(content: bytes, bundle: Bundle) -> None:
    """Remember what was packed of some content, if there is a place for it."""
    known = _read()
    known.pop(content.hex(), None)
    known[content.hex()] = [bundle.digest.hex(), bundle.size]
    for oldest in list(known)[:-MOST_KEPT]:
        del known[oldest]
    with suppress(OSError, HomeUnusable):
        path = settings.home() / _FILE
        make_directory(path.parent)
        draft = f"{path}.{os.getpid()}"
        with open(draft, "w", encoding="ascii", opener=opener) as file:
            json.dump(known, file)
        os.replace(draft, path)


def _read() -> dict[str, object]:
    with suppress(OSError, ValueError, HomeUnusable):
        with open(settings.home() / _FILE, encoding="ascii") as file:
            known = json.load(file)
        if isinstance(known, dict):
            return known
    return {}
