"""The worlds of the programs whose runs an agent executes: what of each there is on this machine.

A program of the same user on the same machine has written the facts of its world into a file (`facts`); a
worker reads that itself, the agent only looks who the program is and which interpreter it has. Of programs on
other machines it knows what the template says: their workers read what comes with the bundle, if there is
one. Invariant: nothing of a program's variables is kept here.
"""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from taskyard_api.v1 import template_pb2
from taskyard_contract.world import facts
from taskyard_contract.world.facts import WorldFacts

logger = logging.getLogger(__name__)

MOST_KEPT: Final = 256
"""Programs come and go; one that is met again is looked up again."""
START_VARIABLES: Final = (
    "PYTHONHASHSEED", "PYTHONUTF8", "PYTHONIOENCODING", "PYTHONMALLOC", "PYTHONCOERCECLOCALE", "PYTHONHOME",
    "PYTHONNOUSERSITE", "LD_LIBRARY_PATH", "LD_PRELOAD", "LC_ALL", "LC_CTYPE", "LANG",
)  # fmt: skip
"""Variables that count when an interpreter starts; all others can be set in a worker."""


class Interpreter(NamedTuple):
    """How workers of a program are started: those that start alike are forked from one zygote."""

    executable: str
    prefix: str
    flags: tuple[str, ...]
    library_path: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, known: WorldFacts) -> "Interpreter":
        """Return that of a program."""
        return cls(
            known.executable,
            known.prefix,
            tuple(known.flags),
            (*_shadowing(known), *known.library_path),
            tuple((name, known.variables[name]) for name in START_VARIABLES if name in known.variables),
        )

    def starts_like(self, other: "Interpreter") -> bool:
        """Say whether it makes no difference which of the two starts workers."""
        same_file = os.path.realpath(self.executable) == os.path.realpath(other.executable)
        return same_file and self[1:] == other[1:]


def _shadowing(known: WorldFacts) -> list[str]:
    """Return the directories of a program whose modules hide some of Python's that a zygote has loaded.

    Workers that were forked from a zygote without them would have Python's.
    """
    loaded = {name.partition(".")[0] for name in sys.modules} & sys.stdlib_module_names
    return [
        entry
        for entry in _before_library(known)
        if not loaded.isdisjoint(_names_in(entry or known.directory))
    ]


def _before_library(known: WorldFacts) -> list[str]:
    """Return the part of a program's import path that comes before Python's own modules."""
    first = next((at for at, entry in enumerate(known.path) if entry.endswith(".zip")), 0)
    return [entry for entry in known.path[:first] if entry not in known.library_path]


def _names_in(directory: str) -> set[str]:
    try:
        return {name.partition(".")[0] for name in os.listdir(directory)}
    except OSError:
        return set()


class GivenWorld:
    """The world of a template, as far as this agent knows it."""

    __slots__ = (
        "bundle",
        "ended",
        "file",
        "id",
        "interpreter",
        "known",
        "message",
        "revision",
        "trouble",
        "unsure",
    )

    def __init__(
        self,
        message: template_pb2.World,
        file: str,
        known: WorldFacts | None,
        interpreter: Interpreter | None,
        bundle: bytes = b"",
    ) -> None:
        """Describe a world.

        Args:
            message: What the template says.
            file: Where its facts are; "" when they are not on this machine.
            known: These facts, without variables.
            interpreter: What starts its workers; None for that of the agent.
            bundle: The bundle that has to be unpacked before, when its program is elsewhere.
        """
        self.message = message.SerializeToString()
        self.id = message.id
        self.revision = message.revision
        self.file = file
        self.known = known
        self.interpreter = interpreter
        self.bundle = bundle
        self.trouble = ""
        """Why workers cannot be started as the program was; the agent's own then say so of each run."""
        self.ended = False
        """Whether the server has said that its program has ended."""
        self.unsure = False
        """Whether it may have said so while nobody listened; runs that come tell otherwise."""

    def has_ended(self) -> bool:
        """Say whether its program is known not to run any more, or nothing tells that it does."""
        if self.known is not None:
            return not self.known.is_alive()
        return self.ended or self.unsure


class Worlds:
    """What an agent knows of the worlds it has met of late."""

    def __init__(
        self,
        directory: Path,
        own: Interpreter,
        file_of_bundle: Callable[[bytes], str] = lambda digest: "",
        apart: bool = False,
    ) -> None:
        """Know no world yet.

        Args:
            directory: Where programs of this machine write their facts.
            own: How the agent's own workers are started.
            file_of_bundle: Says where the facts are that come with a bundle.
            apart: Whether programs need workers of another zygote all the same, because what the agent's own
                have imported before they are forked is not what a program would find.
        """
        self._file_of_bundle = file_of_bundle
        self._directory = directory
        self._own = own
        self._default = own if apart else None
        self._machine = facts.this_machine()
        self._known: dict[tuple[bytes, int, bytes], GivenWorld] = {}

    def of(self, template: template_pb2.RunTemplate) -> GivenWorld | None:
        """Return the world of a template; None when it names none."""
        if not template.HasField("world"):
            return None
        message = template.world
        key = (message.id, message.revision, message.bundle_digest)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MOST_KEPT:
                del self._known[next(iter(self._known))]
            known = self._known[key] = self._look(message)
        return known

    def _look(self, message: template_pb2.World) -> GivenWorld:
        path = facts.file_of(self._directory, message.id, message.revision)
        try:
            found = facts.read(path)
        except FileNotFoundError:
            return self._elsewhere(message)
        except (OSError, ValueError) as error:
            logger.warning("the world of a program cannot be read: %s", error)
            return self._elsewhere(message)
        if found.machine != self._machine:  # a home that several machines share
            return self._elsewhere(message)
        interpreter = Interpreter.of(found)
        other = self._default if interpreter.starts_like(self._own) else interpreter
        return GivenWorld(message, str(path), found._replace(variables={}), other)

    def _elsewhere(self, message: template_pb2.World) -> GivenWorld:
        """Return the world of a program that is not on this machine."""
        bundle = message.bundle_digest
        file = self._file_of_bundle(bundle) if bundle else ""
        return GivenWorld(message, file, None, self._default, bundle)


def command_of(interpreter: Interpreter, arguments: Sequence[str]) -> list[str]:
    """Return the command that starts a zygote in a program's interpreter."""
    boot = (
        "import sys; "
        f"sys.path[:0] = [one for one in {list(interpreter.library_path)!r} if one not in sys.path]; "
        "from taskyard_agent.runner.zygote import main; main(sys.argv[1:])"
    )
    return [interpreter.executable, *interpreter.flags, "-c", boot, *arguments]
