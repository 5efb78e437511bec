"""Places that flows are loaded from: ``path.py:flow``, ``module:flow``, ``module.flow``.

What is behind the name may lie in a class: ``path.py:Pipeline.run``.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from taskyard._engine.definitions.flow_definition import FlowDefinition
from taskyard._engine.loading.scripts import script_module
from taskyard.exceptions import MissingFlowError, ScriptError, UnspecifiedFlowError

F = TypeVar("F", bound=FlowDefinition[..., Any])


class Entrypoint(NamedTuple):
    """An entrypoint taken apart."""

    place: str
    """The path of a script, or the name of a module."""
    attribute: str
    """The name in it, with dots for what lies in a class."""
    is_script: bool

    @classmethod
    def of(cls, text: str) -> "Entrypoint":
        """Take an entrypoint apart.

        Raises:
            ValueError: It is none.
        """
        place, colon, attribute = text.rpartition(":")
        if colon and place and attribute:
            return cls(place, attribute, place.endswith(".py") or "/" in place or "\\" in place)
        module, _, attribute = text.rpartition(".")
        if colon or not module or not attribute or module.startswith("."):
            raise ValueError(
                f"{text!r} is no entrypoint; it has the form 'path.py:flow', 'module:flow' or 'module.flow'"
            )
        return cls(*_at_module(module, attribute), False)

    def file(self) -> str | None:
        """Return the file with the code, as far as it is known."""
        if self.is_script:
            return self.place
        spec = _spec_of(self.place)
        return spec.origin if spec is not None and spec.has_location else None

    def load(self) -> Any:
        """Import what the entrypoint names.

        Raises:
            FileNotFoundError: There is no such script.
            ModuleNotFoundError: There is no such module.
            ScriptError: The script, or the module, raised an exception.
            AttributeError: It has nothing of that name.
        """
        found: Any = script_module(self.place) if self.is_script else _imported(self.place)
        for part in self.attribute.split("."):
            found = getattr(found, part)
        return found

    def missing(self) -> str:
        """Say that there is nothing of that name."""
        return f"Flow function with name {self.attribute!r} not found in {self.place!r}."


def _at_module(module: str, attribute: str) -> tuple[str, str]:
    """Tell a module from the class in it: ``package.module.Pipeline.run``."""
    named, inside = module, attribute
    while _spec_of(named) is None:
        named, dot, last = named.rpartition(".")
        if not dot:
            return module, attribute  # there is none, which importing it will say
        inside = f"{last}.{inside}"
    return named, inside


def _spec_of(module: str) -> Any:
    if module in sys.modules:
        return sys.modules[module].__spec__
    try:
        return importlib.util.find_spec(module)
    except (Exception, SystemExit):  # of code above it, which raises it again when it is imported
        return None


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise  # it is not there itself
        raise ScriptError.of(error, name) from error
    except (Exception, SystemExit) as error:  # code of the module
        raise ScriptError.of(error, name) from error


def checked_flow(kind: type[F], found: object, entrypoint: Entrypoint) -> F:
    """Return what an entrypoint names, if that is a flow.

    Raises:
        MissingFlowError: It is none.
    """
    if not isinstance(found, kind):
        raise MissingFlowError(
            f"Function with name {entrypoint.attribute!r} is not a flow. Make sure that it is decorated with "
            "'@flow'."
        )
    return found


def flows_of_script(kind: type[F], path: str) -> list[F]:
    """Return the flows that a script defines itself, in their order; not those that it imports.

    Raises:
        FileNotFoundError: There is no such file.
        ScriptError: The script raised an exception.
    """
    module = script_module(path)
    own = (
        value
        for value in vars(module).values()
        if isinstance(value, kind) and value.fn.__module__ == module.__name__
    )
    return list(dict.fromkeys(own))


def selected(flows: Iterable[F], flow_name: str | None, from_message: str | None) -> F:
    """Return the flow of a name, or the only one.

    Raises:
        MissingFlowError: There is none, or none of that name.
        UnspecifiedFlowError: There are several, and no name was given.
    """
    by_name = {one.name: one for one in flows}
    where = f" {from_message}" if from_message else ""
    names = ", ".join(repr(name) for name in sorted(by_name))
    if not by_name:
        raise MissingFlowError(f"No flows found{where}.")
    if flow_name and flow_name not in by_name:
        raise MissingFlowError(
            f"Flow {flow_name!r} not found{where}. Found the following flows: {names}. Check to make sure "
            "that your flow function is decorated with `@flow`."
        )
    if not flow_name and len(by_name) > 1:
        raise UnspecifiedFlowError(
            f"Found {len(by_name)} flows{where}: {names}. Specify a flow name to select a flow."
        )
    return by_name[flow_name] if flow_name else next(iter(by_name.values()))
