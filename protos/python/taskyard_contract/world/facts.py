"""The facts of a program's world, and the file in which agents of its user on its machine find them.

The file is the only way of these facts: environment variables hold secrets, which no database, no log and no
other machine is to have. Who can read the file may know them, and whoever cannot is elsewhere.
"""

import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from taskyard_contract.programs.private_files import make_directory, opener

if TYPE_CHECKING:
    from pathlib import Path

WORLDS: Final = "worlds"
"""The directory of these files, in the home."""
_LIBRARIES: Final = (
    "taskyard",
    "taskyard_agent",
    "taskyard_contract",
    "taskyard_api",
    "cloudpickle",
    "google",
)
"""What a worker imports before it knows anything of the program."""
OUTLIVED_SECONDS: Final = 7 * 24 * 3600.0
"""For so long a program's facts are kept for runs that outlive it."""
_FORMAT: Final = 1
_STARTED_FIELD: Final = 19
"""Of /proc/PID/stat, counted behind the name of the program: when it was started."""


class MainFacts(NamedTuple):
    """What a program's ``__main__`` says of itself."""

    file: str | None = None
    package: str | None = None
    spec: str | None = None
    """The module's name, of a program that was started with ``-m``."""
    doc: str | None = None


class WorldFacts(NamedTuple):
    """What a program has around it."""

    executable: str
    version: str
    """Implementation and minor version of Python, as "cpython-3.11"."""
    prefix: str
    flags: list[str]
    """Options of the interpreter, as in ``python -X utf8``."""
    path: list[str]
    library_path: list[str]
    """Where the program has found Taskyard and what it stands on."""
    directory: str
    """Nothing, when it has been removed."""
    variables: dict[str, str]
    arguments: list[str]
    main: MainFacts
    modules: dict[str, str]
    """Modules that are not found along the path, with their files."""
    machine: str
    """Changes with each start of the machine."""
    pid: int
    started: str
    """When the process was started: ids of processes are used again."""
    umask: int | None = None
    """What is taken from the rights of the files it makes; None where the system does not say."""
    outlived: bool = False
    """Whether there are runs that outlive the program."""
    is_near: bool = True
    """Whether the program is on this machine. If not, workers have all that is said here besides what is
    theirs: `directory` is their own, `path` comes before theirs and `variables` are added to theirs."""
    options: dict[str, Any] | None = None
    """What it has set in Python itself, see `process_options`; of programs elsewhere templates say it."""

    def is_alive(self) -> bool:
        """Say whether the program still runs."""
        return started_at(self.pid) == self.started


def own_version() -> str:
    """Return the version of Python that executes this."""
    return f"{sys.implementation.name}-{sys.version_info.major}.{sys.version_info.minor}"


def library_path() -> list[str]:
    """Return the directories in which this process has found what workers stand on."""
    found: dict[str, None] = {}
    for name in _LIBRARIES:
        try:
            spec = find_spec(name)
        except (ImportError, ValueError):
            continue
        places = spec.submodule_search_locations if spec is not None else None
        if places:  # the first one is the package, others are what a package has added to itself
            found[os.path.dirname(absolute(next(iter(places))))] = None
    return list(found)


def absolute(path: str) -> str:
    """Return the absolute path of a file, as long as there is a directory that it could be relative to."""
    try:
        return os.path.abspath(path)
    except FileNotFoundError:  # the directory of the program was removed
        return path


def interpreter_options() -> list[str]:
    """Return the options that this interpreter was started with."""
    import subprocess  # programs that only import the SDK need not wait for it

    options: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing
    return options


def this_machine() -> str:
    """Return a name for this machine since its last start, or for the container that this process is in.

    Containers of one machine have processes of their own: who is not seen there may still run.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return os.uname().nodename


def started_at(pid: int) -> str:
    """Return when a process was started, in words of the system; "" when there is none of that id."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[_STARTED_FIELD].decode()
    except OSError:
        pass
    if os.path.isdir("/proc/self"):
        return ""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except OSError:
        pass
    return "unknown"


def current_directory() -> str:
    """Return the directory that this process is in; "" when it was removed meanwhile."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def raw_variables() -> Mapping[Any, Any]:
    """Return the variables of this process as the operating system has them, to be compared.

    To decode them takes fifty times as long as to compare them.
    """
    raw: Mapping[Any, Any] = getattr(os.environ, "_data", os.environ)
    return raw


def own_umask() -> int | None:
    """Return the umask of this process; to ask by setting it would show to other threads."""
    try:
        with open("/proc/self/status") as file:
            return next((int(line.split()[1], 8) for line in file if line.startswith("Umask:")), None)
    except OSError:
        return None


def file_of(directory: "Path", world_id: bytes, revision: int) -> "Path":
    """Return the file of a world."""
    return directory / f"{world_id.hex()}-{revision}.json"


def write(path: "Path", facts: WorldFacts) -> None:
    """Write a file of facts, for its user alone, whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    make_directory(path.parent)
    draft = path.with_suffix(f".{os.getpid()}")
    document = {"format": _FORMAT, **facts._asdict(), "main": facts.main._asdict()}
    try:
        with open(draft, "w", encoding="ascii", opener=opener) as file:
            json.dump(document, file)  # in ASCII, so bytes that are no text survive as surrogates
        os.replace(draft, path)
    except OSError:
        remove([draft])
        raise


def read(path: "Path") -> WorldFacts:
    """Read a file of facts.

    Raises:
        OSError: It cannot be read, or belongs to another user.
        ValueError: It is none, or of another release.
    """
    with open(path, encoding="ascii") as file:
        if os.fstat(file.fileno()).st_uid != os.geteuid():
            raise PermissionError(f"{path} belongs to another user")
        document = json.load(file)
    if not isinstance(document, dict) or document.pop("format", None) != _FORMAT:
        raise ValueError(f"{path} was written by another release of Taskyard")
    try:
        return WorldFacts(**{**document, "main": MainFacts(**document["main"])})
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is no description of a world: {error}") from None


def sweep(directory: "Path") -> None:
    """Remove the files of programs that have ended without doing so, but those whose runs outlive them."""
    machine = this_machine()
    for path in directory.glob("*.json"):
        with suppress(OSError, ValueError):
            found = read(path)
            is_old = time.time() - path.stat().st_mtime > OUTLIVED_SECONDS
            if found.machine != machine or found.is_alive() or (found.outlived and not is_old):
                continue
            path.unlink()


def remove(paths: "Iterable[Path]") -> None:
    """Remove files of facts that nobody needs any more."""
    for path in paths:
        with suppress(OSError):
            path.unlink()
