"""What the project of this program says of its code: the table ``[tool.taskyard]`` of its `pyproject.toml`.

| key | meaning |
|---|---|
| `include` | patterns of files to send besides the modules that are found |
| `exclude` | patterns of files not to send |
| `code` | ``"image"``: nothing is sent, agents elsewhere have the code |
| `environment` | names of variables whose values workers on other machines are to have |

Patterns are paths below the project's directory: ``*`` stands for anything but a slash, ``**`` for any
directories, and whoever names a directory means all in it. In `exclude`, a pattern without a slash means
names at any depth.
"""

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from taskyard import settings
from taskyard._engine.definitions.flow_options import IMAGE
from taskyard._engine.world.sent_parts import lies_installed
from taskyard.exceptions import ConfigurationError
from taskyard_contract.payload_limits import MAX_VARIABLE_BYTES

_FILE: Final = "pyproject.toml"
_KEYS: Final = ("code", "environment", "exclude", "include")


class Project(NamedTuple):
    """A directory, and what is said of the code in it."""

    directory: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    in_image: bool = False

    def variables(self) -> dict[str, str]:
        """Return the variables that go along to other machines.

        Raises:
            ConfigurationError: They are larger than servers keep, or one is no text.
        """
        names = sorted({*self.environment, *settings.forwarded_variables()})
        found = {name: os.environ[name] for name in names if name in os.environ}
        _check_variables(found)
        return found


def _check_variables(variables: Mapping[str, str]) -> None:
    size = 0
    for name, value in variables.items():
        try:
            size += len(name.encode()) + len(value.encode())
        except UnicodeEncodeError:
            raise ConfigurationError(
                f"the variable {name!r} is to be sent to other machines and is no text in UTF-8"
            ) from None
    if size > MAX_VARIABLE_BYTES:
        raise ConfigurationError(
            f"the variables that are to be sent to other machines ({', '.join(variables)}) have {size:,} "
            f"bytes, at most {MAX_VARIABLE_BYTES:,} are: name fewer under 'environment' in [tool.taskyard] "
            "and in TASKYARD_FORWARD_ENV, or have the agents' own environment hold them"
        )


def project_of(main_file: str | None) -> Project:
    """Return the project that a program belongs to: the nearest above its file that has a `pyproject.toml`.

    Args:
        main_file: That of the program; None for one that belongs where it runs.

    Raises:
        ConfigurationError: What is said there makes no sense.
    """
    start = os.path.dirname(os.path.abspath(main_file)) if main_file else os.getcwd()
    directory = start
    while not os.path.isfile(os.path.join(directory, _FILE)):
        above = os.path.dirname(directory)
        if above == directory:
            return Project(start)
        directory = above
    return _read(directory)


def _read(directory: str) -> Project:
    import tomllib  # only programs need it whose code travels

    path = os.path.join(directory, _FILE)
    try:
        with open(path, "rb") as file:
            table = tomllib.load(file).get("tool", {}).get("taskyard", {})
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigurationError(f"'{path}' cannot be read: {error}") from None
    where = f"[tool.taskyard] of '{path}'"
    unknown = sorted(table.keys() - set(_KEYS))
    if unknown:
        raise ConfigurationError(f"{where} has the key '{unknown[0]}'; there are {', '.join(_KEYS)}")
    code = table.get("code", "")
    if code not in ("", IMAGE):
        raise ConfigurationError(
            f'{where} has code = {code!r}; expected "{IMAGE}" (agents elsewhere have the code), or nothing'
        )
    include, exclude, environment = (
        _texts(where, table, key) for key in ("include", "exclude", "environment")
    )
    return Project(directory, include, exclude, environment, code == IMAGE)


def _texts(where: str, table: dict[str, Any], key: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise ConfigurationError(f"{where} has {key} = {value!r}; expected a list of texts")
    return tuple(value)


class Patterns:
    """Patterns of files, to be compared with paths that have slashes."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Take some patterns."""
        found = [_expression(pattern) for pattern in patterns]
        self._expression = re.compile("|".join(found)) if found else None

    def match(self, path: str) -> bool:
        """Say whether one of them means a path, or a directory that it is in."""
        return self._expression is not None and self._expression.match(path) is not None


def _expression(pattern: str) -> str:
    stripped = pattern.removeprefix("./").strip("/")
    parts = [_part(part) for part in stripped.split("/")]
    text = "/".join(parts).replace(".*/", "(?:.*/)?")
    start = "" if "/" in stripped else "(?:.*/)?"
    return f"{start}{text}(?:/|$)"


def _part(part: str) -> str:
    if part == "**":
        return ".*"
    return "".join({"*": "[^/]*", "?": "[^/]"}.get(letter, re.escape(letter)) for letter in part)


def main_file() -> str | None:
    """Return the file of this program's ``__main__``; None when it has none, or one that is installed."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    if not isinstance(path, str) or lies_installed(os.path.realpath(path)):
        return None
    return os.path.abspath(path)


def under(directory: str, path: str) -> str | None:
    """Return a path relative to a directory that it lies in, with slashes; None when it does not."""
    if path == directory:
        return ""
    start = directory.rstrip(os.sep) + os.sep
    return path[len(start) :].replace(os.sep, "/") if path.startswith(start) else None


def deepest(directories: Sequence[str], path: str) -> str | None:
    """Return the one of some directories that is nearest above a path."""
    above = [one for one in directories if under(one, path)]
    return max(above, key=len, default=None)
