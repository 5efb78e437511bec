"""What a program has around it now: to be compared with what there was, and written down for its workers."""

import os
import sys

from taskyard._engine.world.local_modules import found_elsewhere
from taskyard_contract.world import facts, process_options
from taskyard_contract.world.facts import MainFacts, WorldFacts


class Surroundings:
    """Directory, variables, import path, arguments and options of this process at one moment."""

    def __init__(self) -> None:
        """Look at them."""
        self.directory = facts.current_directory()
        self.path = tuple(sys.path)
        self.arguments = tuple(sys.argv)
        self._variables = dict(facts.raw_variables())
        self._modules = len(sys.modules)
        self.modules = found_elsewhere()
        """Modules that the import path does not lead to, with their files."""
        self.options = process_options.current()
        """What was set in Python itself."""
        self._options = process_options.Seen()

    def hold(self) -> bool:
        """Say whether they are the same now. Some microseconds, unless modules were imported."""
        return (
            facts.raw_variables() == self._variables
            and facts.current_directory() == self.directory
            and tuple(sys.path) == self.path
            and tuple(sys.argv) == self.arguments
            and self._options.hold()
            and self._has_modules()
        )

    def _has_modules(self) -> bool:
        modules = len(sys.modules)
        if modules == self._modules:
            return True
        if found_elsewhere() != self.modules:
            return False
        self._modules = modules
        return True


def facts_of(surroundings: Surroundings, outlived: bool) -> WorldFacts:
    """Return all that workers need to know of this program, with the variables it has now.

    Args:
        surroundings: What it has around it.
        outlived: Whether it has runs that outlive it.
    """
    return WorldFacts(
        executable=sys.executable,
        version=facts.own_version(),
        prefix=sys.prefix,
        flags=facts.interpreter_options(),
        path=list(surroundings.path),
        library_path=facts.library_path(),
        directory=surroundings.directory,
        variables=dict(os.environ),
        arguments=list(surroundings.arguments),
        main=_main_facts(),
        modules=surroundings.modules,
        machine=facts.this_machine(),
        pid=os.getpid(),
        started=facts.started_at(os.getpid()),
        umask=facts.own_umask(),
        outlived=outlived,
        options=surroundings.options,
    )


def _main_facts() -> MainFacts:
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    return MainFacts(
        file=_text(getattr(main, "__file__", None)),
        package=_text(getattr(main, "__package__", None)),
        spec=_text(getattr(spec, "name", None)),
        doc=_text(getattr(main, "__doc__", None)),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
