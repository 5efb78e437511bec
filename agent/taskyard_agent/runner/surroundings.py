"""A worker in the world of its program: directory, variables, import path, arguments and ``__main__``.

A worker enters one world and stays in it. What a run has changed of it (its directory, a variable) is put
back before the next chunk, not before each run: that a run of the same program changes these for those that
follow it at once is as it would be at home, and that it changed them for good is not.
Invariant: a worker that could not enter executes nothing, and its runs say why.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from taskyard_api.v1 import template_pb2
from taskyard_contract.world import facts, inherited, main_module, process_options
from taskyard_contract.world.facts import WorldFacts
from taskyard_contract.world.script_names import MAIN, SCRIPT

_NONE: Final[Mapping[str, str]] = {}
KEPT: Final = ("TASKYARD_SERVER",)
"""Variables that stay as the agent has set them: tasks that call tasks do so on its server."""


class NoWorld(Exception):
    """The program's world is not here."""


class Surroundings:
    """The world that this worker is in."""

    def __init__(self) -> None:
        """Be in none."""
        self._options: process_options.Options = {}
        self._missing = ""
        self._entered = False
        self._next: tuple[bytes, str] | None = None
        self._variables: Mapping[Any, Any] = {}
        self._directory = ""
        self._path: list[str] = []
        self._finder = _NamedFiles()
        self._own: tuple[list[str], dict[str, str], str] | None = None
        """Import path, variables and directory of this worker, when the program is on another machine."""

    def announce(self, message: bytes, file: str) -> None:
        """Be told of a world, or of another revision of it; it is entered before the next chunk."""
        self._next = (message, file)

    def miss(self, why: str) -> None:
        """Be told that no worker of this agent can be in its program's world."""
        self._missing = why

    def enter(self, variables: Mapping[str, str] = _NONE, restore: bool = True) -> None:
        """Be in the world that was announced, as its program has left it.

        Args:
            variables: Those that the program has handed over; they count where it is on another machine.
            restore: Whether to put back what runs have changed; not while some of them go on.

        Raises:
            NoWorld: It cannot be entered; the message says what is missing.
        """
        if self._missing:
            raise NoWorld(self._missing)
        if self._next is not None:
            message, file = self._next
            world = template_pb2.World.FromString(message)
            _check_version(world.python)
            handed_over = {name: variables[name] for name in world.variables if name in variables}
            if file:
                inherited.inherit(message)
                self._try_to_enter(file, world, handed_over)
            else:
                inherited.inherit(message, inherited.NOT_SENT, handed_over)
                _check_variables(world, handed_over)
                self._stay(world, handed_over)
            self._next = None
        elif self._entered and restore:
            self._restore()

    def _try_to_enter(self, file: str, world: template_pb2.World, handed_over: dict[str, str]) -> None:
        try:
            known = facts.read(Path(file))
        except (OSError, ValueError) as error:
            raise NoWorld(f"what is known of the program's environment cannot be read: {error}") from None
        if not known.is_near:
            inherited.inherit(world.SerializeToString(), inherited.SENT, handed_over)
            _check_variables(world, handed_over)
            known = self._added(known, handed_over)._replace(options=_options_of(world))
        try:
            self._enter(known)
        except (OSError, ValueError) as error:  # a variable that this system does not take, for example
            raise NoWorld(f"the program's environment cannot be entered: {error}") from None

    def _stay(self, world: template_pb2.World, handed_over: dict[str, str]) -> None:
        """Be where this worker is, with the variables of a program of which nothing else came."""
        path, variables, directory = self._remembered()
        try:
            _set_variables({**variables, **handed_over})
            self._take_options(_options_of(world))
        except (OSError, ValueError) as error:
            raise NoWorld(f"the program's environment cannot be entered: {error}") from None
        self._entered = True
        self._variables = dict(facts.raw_variables())
        self._path, self._directory = path, directory

    def _enter(self, known: WorldFacts) -> None:
        own = {name: os.environ[name] for name in KEPT if name in os.environ}
        _set_variables({**known.variables, **own})
        if known.umask is not None:
            os.umask(known.umask)
        self._take_options(known.options or {})
        sys.argv[:] = known.arguments
        sys.path[:] = known.path
        self._finder.modules = known.modules
        if not self._entered:
            sys.meta_path.append(self._finder)
            _begin_main(known)
        self._entered = True
        self._variables = dict(facts.raw_variables())
        self._path = list(known.path)
        self._directory = known.directory
        _change_directory(known.directory)

    def _added(self, known: WorldFacts, handed_over: dict[str, str]) -> WorldFacts:
        """Return what comes from another machine, together with what this worker has of its own."""
        path, variables, directory = self._remembered()
        return known._replace(
            path=[*known.path, *path], variables={**variables, **handed_over}, directory=directory
        )

    def _remembered(self) -> tuple[list[str], dict[str, str], str]:
        """Return import path, variables and directory as they were before anything was executed."""
        if self._own is None:
            self._own = list(sys.path), dict(os.environ), os.getcwd()
        return self._own

    def _take_options(self, options: process_options.Options) -> None:
        """Have what is new of the options of the program."""
        before, self._options = self._options, options
        process_options.apply({name: one for name, one in options.items() if before.get(name) != one})

    def _restore(self) -> None:
        if facts.raw_variables() != self._variables:
            os.environ.clear()
            for name, value in self._variables.items():
                os.environb[name] = value
            time.tzset()
        if sys.path != self._path:
            sys.path[:] = self._path
        if facts.current_directory() != self._directory:
            _change_directory(self._directory)


def _options_of(world: template_pb2.World) -> process_options.Options:
    options = json.loads(world.options or b"{}")
    return options if isinstance(options, dict) else {}


def _check_version(python: str) -> None:
    """Refuse the code of another Python, which would not be executed as what it is.

    Raises:
        NoWorld: It is of another implementation or minor version.
    """
    own = facts.own_version()
    if python and python != own:
        raise NoWorld(
            f"its program runs on {python} and this worker on {own}; start an agent with the program's "
            "Python, or on its machine, with the same TASKYARD_HOME"
        )


def _check_variables(world: template_pb2.World, handed_over: Mapping[str, str]) -> None:
    """Refuse runs whose program has variables that did not come: without them they would do something else.

    Raises:
        NoWorld: One is missing.
    """
    missing = [name for name in world.variables if name not in handed_over]
    if missing:
        raise NoWorld(
            f"it needs the variable '{missing[0]}' of its program, which was handed over in the memory of "
            "the server only: the server was started again after the program had ended"
        )


def _set_variables(variables: Mapping[str, str]) -> None:
    for name in [name for name in os.environ if name not in variables]:
        del os.environ[name]
    for name, value in variables.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
    time.tzset()


class _FromText(SourceFileLoader):
    """Compiles each time: a script may be loaded again after an edit of the same second and length."""

    def path_stats(self, path: Any) -> Mapping[str, Any]:
        """Know nothing, so that Python neither takes nor keeps compiled code.

        Raises:
            OSError: Always.
        """
        raise OSError(path)


class _NamedFiles(MetaPathFinder):
    """Finds the modules that the program had from elsewhere than its import path."""

    def __init__(self) -> None:
        self.modules: Mapping[str, str] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file = self.modules.get(fullname)
        if file is None:
            return None
        if not file:  # nothing but a name for those below it
            return ModuleSpec(fullname, None, is_package=True)
        is_package = os.path.basename(file).startswith("__init__.")
        places = [os.path.dirname(file)] if is_package else None
        loader = _FromText(fullname, file) if fullname.startswith(SCRIPT) else None
        return spec_from_file_location(fullname, file, loader=loader, submodule_search_locations=places)


def _begin_main(known: WorldFacts) -> None:
    """Make a ``__main__`` that looks as the program's, to be filled with what its runs use."""
    said = known.main
    main = ModuleType(MAIN, said.doc)
    if said.file is not None:
        main.__file__ = said.file
    main.__package__ = said.package
    if said.spec is not None:  # or children of `multiprocessing` would execute the file without its package
        main.__spec__ = ModuleSpec(said.spec, None, origin=said.file)
    main_module.begin(main)


def _change_directory(directory: str) -> None:
    if not directory:  # it was removed while the program was in it: there are no relative paths
        gone = tempfile.mkdtemp()
        os.chdir(gone)
        os.rmdir(gone)
        return
    try:
        os.chdir(directory)
    except OSError as error:
        raise NoWorld(f"the program's directory '{directory}' cannot be entered ({error.strerror})") from None
