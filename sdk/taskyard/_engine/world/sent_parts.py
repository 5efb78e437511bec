"""Which of a program's modules are its own: those that no other machine has unless they are sent.

A module belongs to the program unless it comes with Python or is installed, by the real path of its file;
what is installed in editable form lies elsewhere, and so is the program's own. Each stands for its whole
package, with the files that are no modules. Of a namespace package only what is below it counts: others share
it.

Tasks often import inside functions what the program itself never does. So names in import statements of what
is sent are followed as well, by their text: it costs a hundredth of parsing, and a name too many does no
harm.
"""

import linecache
import os
import re
import site
import sys
import zipimport
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.machinery import ModuleSpec
from typing import Any, Final, NamedTuple

from taskyard._data.identity.installed import OWN, installed_roots
from taskyard_contract.world.script_names import MAIN

_NEVER: Final = frozenset({*OWN, MAIN, "__mp_main__"})
_SITES: Final = frozenset({"site-packages", "dist-packages"})
IMPORT: Final = re.compile(
    r"(?:^|[;:])[ \t]*(?:from[ \t]+(?P<module>[\w.]+)[ \t]+import[ \t]+(?P<names>\([^)]*\)|[^\n;#]*)"
    r"|import[ \t]+(?P<modules>[\w., \t]+))",
    re.MULTILINE,
)
_CELLS: Final = ("<ipython-input", "ipykernel_")


class Part(NamedTuple):
    """A module or package of the program's own."""

    root: str
    """The entry of the import path that it was found by."""
    path: str
    """Its file, or the directory of which all files belong to it."""


def loaded() -> dict[Part, None]:
    """Return the parts that this program has loaded."""
    found: dict[Part, None] = {}
    packages: set[tuple[str, str]] = set()
    for name, module in list(sys.modules.items()):
        top = name.partition(".")[0]
        file = _attribute(module, "__file__")
        if top in _NEVER or not isinstance(file, str):
            continue
        file = os.path.abspath(file)
        archive = _archive_of(module)
        root = archive or _root_of(file, name)
        if root is None or (root, top) in packages or (lies_installed(root) and not _is_link(root, top)):
            continue
        part = Part(root, root) if archive else _part_of(root, name.split("."), file)
        if not lies_installed(os.path.realpath(part.path)):
            found[part] = None
            if part.path == os.path.join(root, top):
                packages.add((root, top))
    return found


def linked_directories() -> set[str]:
    """Return where the files of loaded modules are that are links: in some editable installations all are."""
    found = set()
    for module in list(sys.modules.values()):
        file = _attribute(module, "__file__")
        if isinstance(file, str) and not lies_installed(file) and os.path.islink(file):
            found.add(os.path.dirname(os.path.realpath(file)))
    return found


class ImportedNames:
    """Finds the parts that import statements name."""

    def __init__(self) -> None:
        """Start with nothing found."""
        self._asked: set[str] = set()
        self._tops: dict[str, Part | list[str]] = {}

    def parts(self, names: Iterable[str]) -> Iterator[Part]:
        """Iterate over the parts that some names mean and that were not named before."""
        for name in names:
            top, *rest = name.split(".")
            if name in self._asked or top in _NEVER or top in sys.stdlib_module_names:
                continue
            self._asked.add(name)
            found = self._tops.get(top)
            if found is None:
                found = self._tops[top] = _find(top)
                if isinstance(found, Part):
                    yield found
            if isinstance(found, list):
                yield from _below(found, [top, *rest])


def cells() -> Iterator[str]:
    """Iterate over the sources of a notebook's cells, as far as they are kept."""
    for name, entry in list(linecache.cache.items()):
        if any(mark in name for mark in _CELLS) and len(entry) > 2:
            yield "".join(entry[2])


def names_in(text: str) -> Iterator[str]:
    """Iterate over the names in the import statements of a source."""
    for match in IMPORT.finditer(text):
        module = match["module"]
        if module is None:
            for one in match["modules"].split(","):
                yield one.split(" as ")[0].strip()
        elif not module.startswith("."):
            yield module
            for one in match["names"].strip("()").split(","):
                yield f"{module}.{one.split(' as ')[0].strip()}"


def _find(top: str) -> Part | list[str]:
    """Return the part that a name leads to; of a namespace package, or of nothing, the places below it."""
    module = sys.modules.get(top)
    file = _attribute(module, "__file__")
    if isinstance(file, str):
        return []  # it is loaded, so it is known
    spec = _spec_of(top)
    if spec is None:
        return []
    if spec.origin is None or not os.path.isfile(spec.origin):
        return [os.path.abspath(place) for place in spec.submodule_search_locations or ()]
    file = os.path.abspath(spec.origin)
    root = _root_of(file, top)
    if root is None or lies_installed(os.path.realpath(file)):
        return []
    return _part_of(root, [top], file)


def _below(places: list[str], parts: list[str]) -> Iterator[Part]:
    """Iterate over what a dotted name means in the places of a namespace package."""
    for place in places:
        root = os.path.dirname(place)
        for depth in range(2, len(parts) + 1):
            path = os.path.join(root, *parts[:depth])
            is_package = os.path.isfile(os.path.join(path, "__init__.py"))
            if is_package or os.path.isfile(f"{path}.py"):
                part = Part(root, path if is_package else os.path.dirname(path))
                if not lies_installed(os.path.realpath(part.path)):
                    yield part
                break


def _spec_of(top: str) -> ModuleSpec | None:
    """Return what the finders say of a name: `find_spec` would say what is loaded, from wherever."""
    for finder in list(sys.meta_path):
        try:
            spec: ModuleSpec | None = finder.find_spec(top, None)
        except Exception:  # a stranger's; what it finds cannot be sent then
            continue
        if spec is not None:
            return spec
    return None


def _root_of(file: str, name: str) -> str | None:
    """Return the directory from which a file is found under a module's name; None when it is not."""
    directory, base = os.path.split(file)
    stem = base.partition(".")[0]
    parts = name.split(".")
    if stem != "__init__" and stem != parts.pop():
        return None
    for part in reversed(parts):
        directory, last = os.path.split(directory)
        if last != part:
            return None
    return directory


def _part_of(root: str, parts: list[str], file: str) -> Part:
    path = root
    for part in parts:
        path = os.path.join(path, part)
        if os.path.isfile(os.path.join(path, "__init__.py")):
            return Part(root, path)
    directory = os.path.dirname(file)
    return Part(root, file if directory == root else directory)


def _archive_of(module: Any) -> str | None:
    loader = _attribute(module, "__loader__")
    if not isinstance(loader, zipimport.zipimporter):
        return None
    return os.path.abspath(loader.archive)


def _attribute(module: Any, name: str) -> Any:
    try:
        return vars(module).get(name)
    except TypeError:  # anything may be put among the modules
        return None


def _is_link(root: str, top: str) -> bool:
    return os.path.islink(os.path.join(root, top)) or os.path.islink(os.path.join(root, f"{top}.py"))


def lies_installed(path: str) -> bool:
    """Say whether a path is that of something that comes with Python or is installed."""
    if not _SITES.isdisjoint(path.split(os.sep)):
        return True
    return path.startswith(_installed_roots()) or path in _installed_directories()


@lru_cache(maxsize=1)
def _installed_directories() -> frozenset[str]:
    paths = {root.rstrip(os.sep) for root in installed_roots()}
    paths.add(site.getusersitepackages())
    paths.update(path for path in sys.path if path.endswith(".zip") and path.startswith(sys.base_prefix))
    return frozenset(each for path in paths for each in (os.path.abspath(path), os.path.realpath(path)))


@lru_cache(maxsize=1)
def _installed_roots() -> tuple[str, ...]:
    return tuple(path + os.sep for path in _installed_directories())
