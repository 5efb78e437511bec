"""This program's world: announced with its first run that workers execute, and again when it has changed.

What it is made of is compared, not watched; see `Seen` for when.
Invariant: workers of a world that is announced find its file until this process has ended, unless a run of it
outlives the program; then as long as agents keep it.
"""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from taskyard import settings
from taskyard._engine.world.local_modules import LocalModules
from taskyard._engine.world.seen import look_at_all_now
from taskyard._engine.world.surroundings import Surroundings, facts_of
from taskyard._network.session.session import Session
from taskyard.logging import get_logger
from taskyard_api.v1 import template_pb2
from taskyard_contract.programs.home_directory import HomeUnusable
from taskyard_contract.world import facts, inherited

if TYPE_CHECKING:
    from pathlib import Path


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
        self._has_said = False
        self.outlived = False
        """Whether there are runs that outlive this program."""

    def world(self, is_near: bool) -> World:
        if not self.is_same():
            self._surroundings = Surroundings()
            self._modules = self._modules or LocalModules()
            self._revision += 1
            self._write(self._surroundings)
        revision = self._revision
        message = template_pb2.World(id=self._id, revision=revision, python=facts.own_version())
        return World(message, is_near, lambda: revision == self._revision and self.is_same())

    def look_at_modules(self) -> None:
        """Begin another world if modules were loaded anew: workers have the former ones."""
        if self._modules is not None and self._modules.are_reloaded():
            self._id, self._surroundings = os.urandom(16), None

    def is_same(self) -> bool:
        return self._surroundings is not None and self._surroundings.hold()

    def outlive(self) -> None:
        if not self.outlived and self._surroundings is not None:
            self.outlived = True
            self._write(self._surroundings)

    def _write(self, surroundings: Surroundings) -> None:
        """Write the file; where there is no home, agents of this machine are as those of others."""
        try:
            path = facts.file_of(settings.home() / facts.WORLDS, self._id, self._revision)
        except HomeUnusable:
            return
        try:
            facts.write(path, facts_of(surroundings, self.outlived))
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
        self._surroundings = None  # should another session begin


_keeper = _Keeper()


def world_of(session: Session) -> World:
    """Return the world of this program, announced to the agents of this machine.

    Args:
        session: Where its runs go.
    """
    is_near = session.locate().startswith("unix:")
    own = inherited.world()
    if own is not None:  # a worker: what its runs call has the world of its program
        return World(template_pb2.World.FromString(own), is_near, lambda: True)
    world = _keeper.world(is_near)
    if end not in session.on_close:
        session.on_close.insert(0, end)
    return world


def look_at_modules() -> None:
    """Notice modules that were loaded anew, or whose files were changed: a flow begins."""
    _keeper.look_at_modules()
    look_at_all_now()


def outlive() -> None:
    """Keep what was announced: a run was submitted that outlives this program."""
    _keeper.outlive()


def end() -> None:
    """Take back what was announced, unless there are runs that outlive this program."""
    _keeper.end()


def _after_fork() -> None:
    # The child is a program of its own: its files end with it, the parent's do not.
    global _keeper
    _keeper = _Keeper()


os.register_at_fork(after_in_child=_after_fork)
