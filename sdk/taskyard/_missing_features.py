"""What Prefect has and this release has not, so that programs hear it by name, and what to do instead.

Invariants: nothing that is listed in `taskyard._prefect_names` is accepted silently: an import, an option or
a method that this release cannot honour is refused where it is written, with the error that Python has for
it. And nothing that exists is touched: all of this is asked only for what was not found.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, Final

_PAGE: Final = "docs/coming-from-prefect.md"
_ROOT: Final = "taskyard"
_REPLACED: Final = (("Taskyard", "Prefect"), ("TASKYARD_", "PREFECT_"))
_IMPORT_FROM: Final = "IMPORT_FROM"


def with_page(why: str) -> str:
    """Complete what is to be done instead of something by where all of it is written."""
    return f"{why} (see {_PAGE})"


def explain_attribute(kind: str, of: object, name: str) -> Any:
    """Be the `__getattr__` of an object, which explains attributes that it has in Prefect.

    Args:
        kind: What users call the object: "task", "flow", "state" or "future".
        of: The object.
        name: The attribute.

    Raises:
        AttributeError: There is none of that name; or there is, and this is what its own code raised.
    """
    if hasattr(type(of), name):
        return object.__getattribute__(of, name)
    raise AttributeError(absent_attribute(kind, name))


def absent_attribute(kind: str, name: str) -> str:
    """Say that an object has no such attribute, and what to do instead if that is known.

    Args:
        kind: What users call it: "task", "flow", "state" or "future".
        name: The attribute.
    """
    said = f"a {kind} has no attribute '{name}'"
    if name.startswith("_"):  # asked for by machinery, and often
        return said
    from taskyard._prefect_names.attributes import ATTRIBUTES

    why = ATTRIBUTES[kind].get(name)
    return f"{said}: {with_page(why)}" if why else said


def refuse_unknown_options(
    kind: str, subject: str, given: dict[str, Any], known: Sequence[str]
) -> dict[str, Any]:
    """Return the options without those that are absent and None anyway.

    Args:
        kind: Whose options they are: "task" or "flow".
        subject: The same with its name, for the message.
        given: Options by name.
        known: Names that exist.

    Raises:
        TypeError: There is no such option in this release.
    """
    if given.keys() <= set(known):
        return given
    from taskyard._prefect_names.options import ABSENT, FORMER

    for name, value in given.items():
        if name in known or (name in ABSENT and value is None):
            continue
        why = ABSENT.get(name) or FORMER[kind].get(name)
        said = with_page(why) if why else _spelling(name, known)
        raise TypeError(f"{subject} cannot have the option '{name}': {said}")
    return {name: value for name, value in given.items() if name in known}


def _spelling(name: str, known: Sequence[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, known, 1)
    return "there is none of that name; " + (
        f"did you mean '{close[0]}'?" if close else f"the options are {', '.join(sorted(known))}"
    )


def absent_arguments(keywords: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """Say what to do instead of arguments that calls took in former Prefects; "" when there are none."""
    from taskyard._prefect_names.options import CALLS

    said = [f"'{name}': {CALLS[name]}" for name in keywords if name in CALLS and name not in known]
    return f" {with_page('; '.join(said))}" if said else ""


def no_function(kind: str, fn: object) -> str:
    """Say why a task, or a flow, cannot be made of something that is no function.

    Args:
        kind: "task" or "flow".
        fn: What was given instead; None for nothing.
    """
    from taskyard._prefect_names import reasons

    said = f"'fn' must be callable, got {'nothing' if fn is None else type(fn).__name__}"
    if fn is not None and not isinstance(fn, str):
        return said
    return f"{said}: {with_page(reasons.IMPERATIVE if kind == 'flow' else reasons.TASK_CLASS)}"


def absent_names(module: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of a module, which explains names that it has in Prefect.

    Where Python imports the name it raises `ImportError`, as Python would, and everywhere else
    `AttributeError`: whoever asks with `hasattr` is only told no.
    """
    inside = module.partition(".")[2]

    def explain(name: str) -> Any:
        if name.startswith("_"):  # asked for by machinery, and often
            if name == "__path__":
                _refuse_submodule(module)
            raise AttributeError(f"module '{module}' has no attribute '{name}'")
        asking = _who_asks()
        if (
            asking.f_code.co_name == "_handle_fromlist"
        ):  # whether it has to import a submodule: it may be there
            raise AttributeError(f"module '{module}' has no attribute '{name}'")
        importing = _is_importing(asking)
        why = _reason_for(inside, name) or (_place_of(name) if importing else None)
        if why and importing:
            raise ImportError(f"cannot import name '{name}' from '{module}': {with_page(why)}", name=module)
        said = f": {with_page(why)}" if why else ""
        raise AttributeError(f"module '{module}' has no attribute '{name}'{said}")

    return explain


def _reason_for(inside: str, name: str) -> str | None:
    """Return what to do instead of a name of a module; the package itself is "" inside."""
    from taskyard._prefect_names.members import MEMBERS, PATTERNS
    from taskyard._prefect_names.modules import MODULES, NAMES

    for ours, theirs in _REPLACED:  # as replacements make it
        if name.startswith(ours):
            return _reason_for(inside, f"{theirs}{name.removeprefix(ours)}")
    if not inside:
        return NAMES.get(name) or MODULES.get(name)
    start, why = PATTERNS.get(inside, ("", ""))
    known = MEMBERS.get(inside, {}).get(name) or MODULES.get(f"{inside}.{name}")
    return known or (why if start and name.startswith(start) else None)


def _place_of(name: str) -> str | None:
    """Return in which public module a name is, if it is in any. Imports them, so only for failed imports."""
    from importlib import import_module

    package = import_module(_ROOT)
    for module in sorted(package._MODULES):
        if name in getattr(import_module(f"{_ROOT}.{module}"), "__all__", ()):
            return f"it is in {_ROOT}.{module} here"
    return None


def _who_asks() -> Any:
    """Return the frame that wants the name: below a `__getattr__` of the module's own, if it has one."""
    frame: Any = sys._getframe(2)
    return frame.f_back if frame.f_code.co_name == "__getattr__" else frame


def _is_importing(frame: Any) -> bool:
    """Say whether what a frame is just doing is ``from module import name``."""
    from opcode import opname

    at = frame.f_lasti
    code = frame.f_code.co_code
    return bool(0 <= at < len(code) and opname[code[at]] == _IMPORT_FROM)


def _refuse_submodule(module: str) -> None:
    """Explain a module inside of one that is no package: Python asks for its path, naming the other one.

    Raises:
        ModuleNotFoundError: It is one of Prefect's.
    """
    asking = sys._getframe(1).f_back
    if asking is not None and asking.f_code.co_name == "__getattr__":  # the module's own
        asking = asking.f_back
    if asking is None or asking.f_code.co_name != "_find_and_load_unlocked":
        return
    wanted = asking.f_locals.get("name")
    if isinstance(wanted, str) and wanted.startswith(f"{module}."):
        _refuse_module(wanted)


def _refuse_module(name: str) -> None:
    from taskyard._prefect_names.modules import COLLECTIONS, MODULES

    package, _, inside = name.partition(".")
    outer, _, last = inside.rpartition(".")
    if package != _ROOT:
        why = COLLECTIONS.get(package) or COLLECTIONS.get(name)
    else:
        why = MODULES.get(inside) or _reason_for(outer, last) or (None if outer else _place_of(last))
    if why:
        # Without `name`: "from taskyard import serve" ignores errors that name what it asked for.
        raise ModuleNotFoundError(f"cannot import '{name}': {with_page(why)}")


class AbsentModules:
    """A finder, asked last, that explains why a module of Prefect's cannot be imported from here.

    ``from taskyard import serve`` comes this way too: a name that a package lacks may be a module.
    """

    @staticmethod
    def find_spec(name: str, path: object = None, target: ModuleType | None = None) -> None:
        """Find nothing, and say so in words where that is known to be wanted.

        Raises:
            ModuleNotFoundError: It is one of the modules, or names, that this release has not.
        """
        if name.startswith(_ROOT):
            asking = sys._getframe(1).f_back
            if asking is None or asking.f_code.co_name != "find_spec":  # importlib.util's, which only asks
                _refuse_module(name)


class DictionaryOfFormer(ModuleType):
    """The module `taskyard.context`, which Prefect 1 has as a dictionary: ``prefect.context["logger"]``."""

    def __getitem__(self, name: object) -> Any:
        """Explain.

        Raises:
            TypeError: Always, as for all modules.
        """
        from taskyard._prefect_names import reasons

        raise TypeError(f"'{self.__name__}' is a module, no dictionary: {with_page(reasons.RUN_CONTEXT)}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Be pickled by name, as all modules are here."""
        from importlib import import_module

        return import_module, (self.__name__,)
