"""This program's world: announced with its first run that workers execute, and again when it has changed.

What it is made of is compared, not watched; see `Seen` for when.
Invariant: workers of a world that is announced find its file until this process has ended, unless a run of it
outlives the program; then as long as agents keep it.
"""

import json
import os
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Final

from taskyard import settings
from taskyard._engine.definitions.flow_options import IMAGE, Code
from taskyard._engine.world.local_modules import LocalModules
from taskyard._engine.world.seen import look_at_all_now
from taskyard._engine.world.surroundings import Surroundings, facts_of
from taskyard._network.session.session import Session
from taskyard.logging import configure, get_logger
from taskyard_api.v1 import session_service_pb2, template_pb2
from taskyard_contract.payload_limits import MAX_OPTIONS_BYTES
from taskyard_contract.programs.home_directory import HomeUnusable
from taskyard_contract.world import facts, inherited
from taskyard_contract.world.facts import WorldFacts

if TYPE_CHECKING:
    from pathlib import Path

    # Import what only programs need whose server is elsewhere.
    from taskyard._engine.world.bundle import Bundler
    from taskyard._engine.world.project import Project


class World:
    """One state of a program's world."""

    __slots__ = ("holds", "is_near", "message")

    def __init__(self, message: template_pb2.World, is_near: bool, holds: Callable[[], bool]) -> None:
        """Wrap what templates say of it."""
        self.message = message
        self.is_near = is_near
        """Whether only agents on this machine can be given its runs."""
        self.holds = holds
        """Says whether it is still the program's."""


class _Keeper:
    """The world of this process."""

    def __init__(self) -> None:
        self._id = os.urandom(16)
        self._revision = 0
        self._surroundings: Surroundings | None = None
        self._modules: LocalModules | None = None
        self._written: list[Path] = []
        self._lock = threading.Lock()
        self._bundler: Bundler | None = None
        self._project: Project | None = None
        self._has_said = False
        self.outlived = False
        """Whether there are runs that outlive this program."""

    def world(self, session: Session, is_near: bool, code: Code) -> World:
        """Return the world as it is; `code` is what the flow says of it."""
        with self._lock:
            bundler = None if is_near else self._bundler_for(code)
            if not self.is_same() or (bundler is not None and not bundler.is_known()):
                self._renew(bundler)
            message = template_pb2.World(id=self._id, revision=self._revision, python=facts.own_version())
            if bundler is not None:
                message.bundle_digest, message.bundle_bytes = bundler.stored(session)
            if not is_near:
                variables = self._variables()
                message.variables.extend(variables)
                message.options = self._options()
                session.announce(self._handed_over(variables))
        state = self._id, self._revision
        return World(message, is_near, lambda: state == (self._id, self._revision) and self.is_same())

    def _bundler_for(self, code: Code) -> "Bundler | None":
        """Return what packs the program's code; None when workers have it."""
        if self._project is None:
            from taskyard._engine.world.project import main_file, project_of

            self._project = project_of(main_file())
        if code == IMAGE or self._project.in_image:
            return None
        if self._bundler is None:
            from taskyard._engine.world.bundle import Bundler

            self._bundler = Bundler(self._project)
        self._bundler.include(tuple(code))
        return self._bundler

    def _variables(self) -> dict[str, str]:
        return self._project.variables() if self._project is not None else {}

    def _options(self) -> bytes:
        assert self._surroundings is not None  # whoever asks has just looked
        options = self._surroundings.options
        told = json.dumps(options, separators=(",", ":")).encode()
        if len(told) <= MAX_OPTIONS_BYTES:
            return told
        # So long are only filters of warnings, which packages add by the dozen and add in workers as well.
        few = {name: one for name, one in options.items() if name != "filters"}
        return json.dumps(few, separators=(",", ":")).encode()

    def _handed_over(self, variables: dict[str, str]) -> session_service_pb2.ProgramWorld:
        return session_service_pb2.ProgramWorld(
            id=self._id, revision=self._revision, variables=variables, outlives=self.outlived
        )

    def _renew(self, bundler: "Bundler | None") -> None:
        configure()  # at the first record it would change the levels that are looked at here
        self._surroundings = Surroundings()
        self._modules = self._modules or LocalModules()
        known = facts_of(self._surroundings, self.outlived)
        if bundler is not None and bundler.look(known):
            # Workers that have imported the files as they were must not have any more of its runs.
            self._id, self._revision = os.urandom(16), 0
        self._revision += 1
        self._write(known)

    def look_at_modules(self) -> None:
        """Begin another world if modules were loaded anew: workers have the former ones."""
        if self._modules is not None:
            self._look_at(self._modules)
        if self._bundler is not None:
            self._bundler.doubt()

    def _look_at(self, modules: LocalModules) -> None:
        if modules.are_reloaded():
            self._id, self._surroundings = os.urandom(16), None

    def is_same(self) -> bool:
        if self._modules is not None and not self._modules.are_same():
            self._look_at(self._modules)
        if self._surroundings is None or not self._surroundings.hold():
            return False
        return self._bundler is None or self._bundler.is_same()

    def outlive(self, sessions: Iterable[Session]) -> None:
        if self.outlived or self._surroundings is None:
            return
        self.outlived = True
        self._write(facts_of(self._surroundings, self.outlived))
        for session in sessions:
            if not _is_near(session):
                session.announce(self._handed_over(self._variables()))

    def _write(self, known: WorldFacts) -> None:
        """Write the file; where there is no home, agents of this machine are as those of others."""
        try:
            path = facts.file_of(settings.home() / facts.WORLDS, self._id, self._revision)
        except HomeUnusable:
            return
        try:
            facts.write(path, known)
        except OSError as error:
            self._say_unwritten(path.parent, error)
        else:
            self._written.append(path)

    def _say_unwritten(self, directory: "Path", error: OSError) -> None:
        if not self._has_said:
            self._has_said = True
            get_logger("world").warning(
                "what workers need to know of this program cannot be written to %s (%s): tasks run in the "
                "directory and with the variables of their agent, and find the modules that it finds",
                directory,
                error.strerror or error,
            )

    def end(self) -> None:
        if not self.outlived:
            facts.remove(self._written)
        self._written.clear()
        # Should another session begin: agents have been told that this world has ended.
        self._id, self._revision, self._surroundings = os.urandom(16), 0, None


_keeper = _Keeper()
_keeper_in_image = _Keeper()
"""Of flows whose code the workers have: their workers must not import what was sent for others."""
_announced_to: Final[set[Session]] = set()
"""Sessions that are open; each of them may have runs that have not started."""


def world_of(session: Session, code: Code = ()) -> World:
    """Return the world of this program, announced to the agents of this machine and of others.

    Args:
        session: Where its runs go.
        code: What the flow says of its code.

    Raises:
        ConfigurationError: A file that is to be sent to other machines is not there, or cannot be read.
        PayloadTooLarge: The files are too large.
    """
    is_near = _is_near(session)
    own = inherited.world()
    if own is not None:  # a worker: what its runs call has the world of its program
        return _inherited_world(own, session, is_near)
    keeper = _keeper_in_image if code == IMAGE and not is_near else _keeper
    world = keeper.world(session, is_near, code)
    if session not in _announced_to:
        _announced_to.add(session)
        session.on_close.insert(0, partial(_end, session))
    return world


def _is_near(session: Session) -> bool:
    """Say whether the server of a session is the local yard, whose agents are on this machine."""
    return session.locate().startswith("unix:")


def _inherited_world(own: bytes, session: Session, is_near: bool) -> World:
    message, variables = template_pb2.World.FromString(own), inherited.variables()
    if variables:
        # Who has handed them over may be gone, and the server have been started again since.
        session.announce(
            session_service_pb2.ProgramWorld(id=message.id, revision=message.revision, variables=variables)
        )
    return World(message, is_near, lambda: True)


def look_at_modules() -> None:
    """Notice modules that were loaded anew, or whose files were changed: a flow begins."""
    for keeper in (_keeper, _keeper_in_image):
        keeper.look_at_modules()
    look_at_all_now()


def outlive() -> None:
    """Keep what was announced: a run was submitted that outlives this program."""
    for keeper in (_keeper, _keeper_in_image):
        keeper.outlive(_announced_to)


def _end(session: Session) -> None:
    """Take back what was announced with the last session, unless there are runs that outlive this program."""
    _announced_to.discard(session)
    if not _announced_to:
        for keeper in (_keeper, _keeper_in_image):
            keeper.end()


def _after_fork() -> None:
    # The child is a program of its own: its files end with it, the parent's do not.
    global _keeper, _keeper_in_image
    _keeper, _keeper_in_image = _Keeper(), _Keeper()
    _announced_to.clear()


os.register_at_fork(after_in_child=_after_fork)
