"""Which files go into a bundle, and under which names.

Files of what the program has loaded or names in import statements (`sent_parts`), files that its project
includes (`project`), and the file of ``__main__``, which workers need for nothing but `inspect` and children
of `multiprocessing`. Not sent: what begins with a dot, byte code, virtual environments, ``node_modules``,
what the project excludes, and links that lead out of the program's own directories. What git ignores is sent:
a build often writes modules that git does not know.
"""

import os
import stat
import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from taskyard._engine.world import sent_parts
from taskyard._engine.world.project import Patterns, Project, deepest, under
from taskyard._engine.world.sent_parts import ImportedNames, Part
from taskyard.exceptions import ConfigurationError, PayloadTooLarge
from taskyard.logging import get_logger
from taskyard_contract.world.bundles import MOST_BYTES, MOST_FILES
from taskyard_contract.world.facts import MainFacts

_IGNORED: Final = frozenset({"__pycache__", "node_modules", "__MACOSX"})
_BYTE_CODE: Final = (".pyc", ".pyo")
_VIRTUAL: Final = "pyvenv.cfg"
_SHOWN: Final = 5


class Source(NamedTuple):
    """A file that is sent, as it was when it was found."""

    path: str
    size: int
    changed_ns: int
    inode: int
    is_executable: bool


class Collection(NamedTuple):
    """What is sent of a program."""

    path: list[str]
    """Places in the archive that are searched for modules, in this order."""
    sources: dict[str, Source]
    """The files, by their places."""
    modules: dict[str, str]
    """Modules that are not found along the path, with their places."""
    main_place: str
    """That of the file of ``__main__``, if it is sent."""
    parts: frozenset[Part]


def collect(
    project: Project,
    parts: Iterable[Part],
    main: MainFacts,
    modules: dict[str, str],
    more: Iterable[str] = (),
) -> Collection:
    """Find the files of this program.

    Args:
        project: What is said of its code.
        parts: What it has loaded.
        main: What its ``__main__`` says of itself.
        modules: Modules that are not found along the path, with their files.
        more: Patterns of files to send besides those that the project includes.

    Raises:
        ConfigurationError: A pattern means no file, or one cannot be read.
        PayloadTooLarge: They are too large, or too many.
    """
    return _Collector(project).collect(dict.fromkeys(parts), main, modules, (*project.include, *more))


class _Collector:
    def __init__(self, project: Project) -> None:
        self._project = project
        self._excluded = Patterns(project.exclude)
        self._found: dict[tuple[str, str], Source] = {}  # by import root and path
        self._own = [os.path.realpath(project.directory)]
        self._left_out: list[str] = []

    def collect(
        self, parts: dict[Part, None], main: MainFacts, modules: dict[str, str], included: Sequence[str]
    ) -> Collection:
        search = [os.path.abspath(entry) for entry in sys.path if isinstance(entry, str)]
        self._own += [os.path.realpath(part.root) for part in parts]
        self._own += sent_parts.linked_directories()
        for part in list(parts):
            self._add_part(part)
        for pattern in included:
            self._include(pattern, search)
        main_file = self._add_main(main, search)
        for file in filter(None, modules.values()):
            directory = os.path.dirname(file)
            self._own.append(os.path.realpath(directory))
            if os.path.basename(file) == "__init__.py":
                self._walk(directory, directory, ())
            else:
                self._add_file(directory, file)
        self._follow_imports(parts)
        self._check()
        return self._collection(frozenset(parts), search, modules, main_file)

    def _follow_imports(self, parts: dict[Part, None]) -> None:
        names = ImportedNames()
        for cell in sent_parts.cells():
            self._add_named(names.parts(sent_parts.names_in(cell)), parts)
        followed: set[Source] = set()
        while left := [one for one in self._found.values() if one not in followed]:
            followed.update(left)
            for source in left:
                if source.path.endswith(".py"):
                    self._add_named(names.parts(_names_in(source)), parts)

    def _add_named(self, named: Iterable[Part], parts: dict[Part, None]) -> None:
        for part in named:
            if part not in parts:
                parts[part] = None
                self._own.append(os.path.realpath(part.root))
                self._add_part(part)

    def _add_part(self, part: Part) -> None:
        if os.path.isdir(part.path):
            self._walk(part.root, part.path, ())
        else:
            self._add_file(part.root, part.path)

    def _add_main(self, main: MainFacts, search: Sequence[str]) -> tuple[str, str] | None:
        if main.file is None:
            return None
        file = os.path.abspath(main.file)
        if sent_parts.lies_installed(os.path.realpath(file)):
            return None
        if not os.path.isfile(file):
            archive = os.path.dirname(file)  # where a program is one
            if os.path.isfile(archive):
                self._add_file(archive, archive)
            return None
        roots = [root for root, _ in self._found]
        root = deepest([*search, *roots], file) or os.path.dirname(file)
        self._own.append(os.path.realpath(root))
        self._add_file(root, file)
        return (root, file) if (root, file) in self._found else None

    def _include(self, pattern: str, search: Sequence[str]) -> None:
        import glob  # only programs need it that include something

        directory = self._project.directory
        matches = glob.glob(pattern, root_dir=directory, recursive=True)
        if not matches:
            raise ConfigurationError(
                f"'{pattern}' is to be sent to workers on other machines, and there is no such file in "
                f"'{directory}'; correct 'include' in [tool.taskyard] of pyproject.toml, or 'code' of flows"
            )
        for match in sorted(matches):
            path = os.path.normpath(os.path.join(directory, match))
            root = deepest([*search, directory], path) or os.path.dirname(path)
            self._own.append(os.path.realpath(root))
            if os.path.isdir(path):
                self._walk(root, path, ())
            else:
                self._add_file(root, path)

    def _walk(self, root: str, directory: str, above: tuple[str, ...]) -> None:
        """Take all in a directory; `above` are the real paths of those that lead here."""
        try:
            with os.scandir(directory) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            raise unreadable(directory, error) from None
        real = os.path.realpath(directory)
        if real in above or any(entry.name == _VIRTUAL for entry in entries):
            return
        for entry in entries:
            name = entry.name
            if name in _IGNORED or name.startswith(".") or name.endswith(_BYTE_CODE):
                continue
            if self._is_excluded(root, entry.path):
                continue
            if entry.is_symlink() and not self._is_own(entry.path):
                continue
            if entry.is_dir():
                self._walk(root, entry.path, (*above, real))
            else:
                self._add_file(root, entry.path)

    def _is_excluded(self, root: str, path: str) -> bool:
        paths = {under(self._project.directory, path), under(root, path)}
        return any(one and self._excluded.match(one) for one in paths)

    def _is_own(self, link: str) -> bool:
        target = os.path.realpath(link)
        if os.path.exists(target) and any(under(own, target) is not None for own in self._own):
            return True
        self._left_out.append(link)
        return False

    def _add_file(self, root: str, path: str) -> None:
        try:
            found = os.stat(path)
        except FileNotFoundError:
            return  # it was removed meanwhile
        except OSError as error:
            raise unreadable(path, error) from None
        if not stat.S_ISREG(found.st_mode) or self._is_excluded(root, path):
            return
        if not _is_text(path):
            raise ConfigurationError(
                f"{path!r} has a name that other machines may not take, so it is not sent; give it another "
                "one, or name it under 'exclude' in [tool.taskyard] of pyproject.toml"
            )
        executable = bool(found.st_mode & stat.S_IXUSR)
        self._found[root, path] = Source(path, found.st_size, found.st_mtime_ns, found.st_ino, executable)
        if len(self._found) > MOST_FILES:
            self._check()

    def _check(self) -> None:
        total = sum(source.size for source in self._found.values())
        if total <= MOST_BYTES and len(self._found) <= MOST_FILES:
            return
        largest = sorted(self._found.values(), key=lambda source: -source.size)[:_SHOWN]
        listed = ", ".join(f"'{source.path}' ({source.size:,} bytes)" for source in largest)
        raise PayloadTooLarge(
            f"the code of this program is too large for workers on other machines: {total:,} bytes in "
            f"{len(self._found):,} files, and at most {MOST_BYTES:,} in {MOST_FILES:,} are sent; the largest "
            f"are {listed}. Name what workers do not need under 'exclude' in [tool.taskyard] of "
            'pyproject.toml, or have the code where they run and say code = "image" there',
            limit=MOST_BYTES,
        )

    def _collection(
        self,
        parts: frozenset[Part],
        search: Sequence[str],
        modules: dict[str, str],
        main_file: tuple[str, str] | None,
    ) -> Collection:
        _say_left_out(self._left_out)
        found = {root for root, _ in self._found}
        roots = [root for root in dict.fromkeys(search) if root in found]
        roots += [root for root in dict.fromkeys(root for root, _ in self._found) if root not in roots]
        places = {key: _place(roots.index(key[0]), *key) for key in self._found}
        by_path = {path: place for (_, path), place in places.items()}
        searched = [places.get((root, root), str(index)) for index, root in enumerate(roots)]
        return Collection(
            searched,
            dict(sorted((place, self._found[key]) for key, place in places.items())),
            {name: by_path.get(file, "") for name, file in modules.items() if not file or file in by_path},
            places[main_file] if main_file is not None else "",
            parts,
        )


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return "\\" not in path


def _place(index: int, root: str, path: str) -> str:
    return f"{index}/{under(root, path) or os.path.basename(path)}"  # an archive is both


@lru_cache(maxsize=MOST_FILES)
def _names_in(source: Source) -> tuple[str, ...]:
    """Return the names in import statements of a file, read again when it has changed."""
    try:
        with open(source.path, encoding="utf-8", errors="replace") as file:
            return tuple(dict.fromkeys(sent_parts.names_in(file.read())))
    except OSError as error:
        raise unreadable(source.path, error) from None


def unreadable(path: str, error: OSError) -> ConfigurationError:
    """Return what to say of a file that cannot be read."""
    return ConfigurationError(
        f"'{path}' is to be sent to workers on other machines and cannot be read ({error.strerror}); name it "
        "under 'exclude' in [tool.taskyard] of pyproject.toml if they do not need it"
    )


_said: Final[set[str]] = set()


def _say_left_out(links: Iterable[str]) -> None:
    new = [link for link in links if link not in _said]
    _said.update(new)
    if new:
        get_logger("world").warning(
            "not sent to workers on other machines, because they are links that lead out of the program's "
            "own directories: %s",
            ", ".join(new),
        )
