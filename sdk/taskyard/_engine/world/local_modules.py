"""The modules of this program that are neither Python's nor installed: where they are, and how they change.

Workers find most of them as this program did, along the import path. The few that were loaded otherwise (from
a path, by a test runner, by a finder of the program's own) are named with their files (`found_elsewhere`).
A module that was loaded anew is another module, so workers that have loaded the former one are of no use any
more. So is one whose file was changed and then what is in it: notebooks put single functions of a module in
the place of the former ones. One whose file only was changed is something that people have to put right.
"""

import logging
import os
import sys
import time
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final, NamedTuple

from taskyard._data.identity.installed import OWN, installed_roots
from taskyard_contract.world.facts import absolute

logger = logging.getLogger("taskyard.world")

_PAUSE: Final = 500
"""Between two looks at files, in times that one takes, beside those when flows begin."""


class _Loaded(NamedTuple):
    spec: Any  # another one after each `reload`
    file: str
    changed_ns: int
    size: int

    def has_text_of(self, other: "_Loaded") -> bool:
        return self[1:] == other[1:]


class LocalModules:
    """What local modules were like when they were looked at last."""

    def __init__(self) -> None:
        """Look at them."""
        self._seen: dict[str, _Loaded] = {}
        self._held: dict[str, int] = {}
        self._outdated: set[str] = set()
        self._said: set[str] = set()
        self._due = 0.0
        self.are_reloaded()

    def are_reloaded(self) -> bool:
        """Look again; returns whether any was loaded anew. Those whose files only were changed are named."""
        began = time.monotonic()
        # What is gone may come back as another one.
        before, self._seen = self._seen, {**self._seen, **dict(_loaded())}
        reloaded = False
        for name, now in self._seen.items():
            was = before.get(name)
            if was is not None and now.spec is not was.spec:  # though it may be equal
                reloaded = True
            elif was is not None and now.file == was.file:
                if not now.has_text_of(was):
                    self._outdated.add(name)
                if name not in self._outdated:
                    continue
                if self._held[name] == _held_by(name):
                    self._say_changed(name, now.file)
                    continue
                reloaded = True
            self._held[name] = _held_by(name)
            self._outdated.discard(name)
        ended = time.monotonic()
        self._due = ended + _PAUSE * (ended - began)
        return reloaded

    def are_same(self) -> bool:
        """Say whether those that were seen are still those that are loaded, as far as that is quickly seen.

        Returns:
            False also when it is time to look again.
        """
        loaded = sys.modules.get
        return time.monotonic() < self._due and all(
            was.spec is getattr(loaded(name), "__spec__", was.spec) for name, was in self._seen.items()
        )

    def _say_changed(self, name: str, file: str) -> None:
        if name not in self._said:
            self._said.add(name)
            logger.warning(
                "%s was changed after this program imported '%s': workers that import it from now on have "
                "the new text, this program has not; reload the module, or start the program again",
                file,
                name,
            )


def _held_by(name: str) -> int:
    """Return a number for the code and the constants that a module has now.

    Not for its other values: the program may have changed these.
    """
    held = []
    for attribute, value in list(vars(sys.modules[name]).items()) if name in sys.modules else ():
        if issubclass(type(value), type) and value.__module__ == name:
            held += [id(code) for code in map(_code_of, list(vars(value).values())) if code is not None]
        elif attribute.isupper() or _code_of(value) is not None:
            held.append(id(_code_of(value) or value))
    return hash(tuple(held))


def _code_of(value: object) -> CodeType | None:
    return value.__code__ if type(value) is FunctionType else None


def _loaded() -> Iterator[tuple[str, _Loaded]]:
    for name, module in local_modules():
        file: str = module.__file__  # type: ignore[assignment]  # local modules have one
        try:
            found = os.stat(file)
        except OSError:
            continue
        yield name, _Loaded(module.__spec__, file, found.st_mtime_ns, found.st_size)


def local_modules() -> Iterator[tuple[str, ModuleType]]:
    """Yield the modules with files that are the program's own, apart from its main module."""
    installed, main = installed_roots(), sys.modules["__main__"]
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if (
            type(file) is str
            and not file.startswith(installed)
            and module is not main  # which `multiprocessing` gives another name as well
            and name.partition(".")[0] not in OWN
        ):
            yield name, module


def found_elsewhere() -> dict[str, str]:
    """Return the modules that are not where the import path leads to.

    Returns:
        The file of each; "" for a package that is only there for those below it.
    """
    path = {absolute(entry or ".") for entry in sys.path if isinstance(entry, str)}
    found: dict[str, str] = {}
    for name, module in local_modules():
        if _lies_on_path(name, module, path):
            continue
        found[name] = absolute(module.__file__ or "")
        for parent in _parents(name):
            if parent not in found and not _is_findable(parent, path):
                found[parent] = ""
    return found


def _lies_on_path(name: str, module: ModuleType, path: set[str]) -> bool:
    """Say whether a module lies where its name is looked for."""
    file = absolute(module.__file__ or "")
    if not file.endswith((".py", ".pyc", ".so")):
        return True  # of a zip archive, for example, which is on the path itself
    place = os.path.dirname(os.path.dirname(file)) if hasattr(module, "__path__") else os.path.dirname(file)
    parent, _, own = name.rpartition(".")
    stem = os.path.basename(os.path.dirname(file)) if hasattr(module, "__path__") else os.path.basename(file)
    if stem.partition(".")[0] != own:
        return False
    if not parent:
        return place in path
    holder = sys.modules.get(parent)
    places = {absolute(entry) for entry in getattr(holder, "__path__", ())}
    return place in places and _is_findable(parent, path)


def _is_findable(name: str, path: set[str]) -> bool:
    """Say whether a package is found by its name."""
    module = sys.modules.get(name)
    if module is None:
        return False
    if isinstance(getattr(module, "__file__", None), str):
        return _lies_on_path(name, module, path)
    # A namespace package: directories of its name, in what is above it.
    parent, _, own = name.rpartition(".")
    above = (
        path if not parent else {absolute(one) for one in getattr(sys.modules.get(parent), "__path__", ())}
    )
    places = [absolute(entry) for entry in getattr(module, "__path__", ())]
    return bool(places) and all(
        os.path.basename(place) == own and os.path.dirname(place) in above for place in places
    )


def _parents(name: str) -> Iterator[str]:
    while "." in name:
        name = name.rpartition(".")[0]
        yield name
