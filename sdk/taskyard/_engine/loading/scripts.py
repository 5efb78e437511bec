"""Scripts executed as modules, so that what they define can be used here and in workers.

A script becomes a module under a name of its own, made of its path: scripts called alike do not meet, and
workers, which are told the file of each module, import it as they import the program's own. As with modules,
a script is executed once, and again only after its text was changed: workers of flows that are running need
not begin anew because somebody loads another flow of the same file.
Invariant: a script that failed leaves no module behind, and the import path is as it was before.
"""

import hashlib
import importlib.util
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import Final, NamedTuple

from taskyard.exceptions import ScriptError
from taskyard_contract.world.script_names import SCRIPT


class _Loaded(NamedTuple):
    module: ModuleType
    text: bytes


_loaded: Final[dict[str, _Loaded]] = {}
_lock = threading.RLock()  # a script may load flows of another one


def script_module(path: str) -> ModuleType:
    """Return the module that a script is, after executing it if that has not been done.

    Args:
        path: The file, absolute or relative to the working directory.

    Raises:
        FileNotFoundError: There is no such file.
        ScriptError: The script raised an exception.
    """
    file = os.path.realpath(os.path.expanduser(path))
    if not os.path.isfile(file):
        raise FileNotFoundError(f"there is no script {path!r} to load a flow from (looked for {file!r})")
    with _lock:
        with open(file, "rb") as opened:
            text = opened.read()
        name = _name_of(file)
        known = _loaded.get(name)
        if known is None or known.text != text or sys.modules.get(name) is not known.module:
            _loaded[name] = known = _Loaded(_executed(name, file, text, path), text)
        return known.module


def _executed(name: str, file: str, text: bytes, path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or not isinstance(spec.loader, SourceFileLoader):
        why = ImportError(f"{file!r} is no Python file: its name does not end in .py")
        raise ScriptError.of(why, path) from why
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        with found_beside(file):
            # Not by the loader, which would take compiled code of an edit of the same second and length.
            exec(spec.loader.source_to_code(text, file), vars(module))
    except (Exception, SystemExit) as error:
        _put_back(name, before)
        raise ScriptError.of(error, path) from error
    except BaseException:
        _put_back(name, before)
        raise
    return module


def _put_back(name: str, before: ModuleType | None) -> None:
    if before is None:
        sys.modules.pop(name, None)
    else:
        sys.modules[name] = before


@contextmanager
def found_beside(file: str) -> Iterator[None]:
    """Let a script import what lies beside it, as if Python had been started with it."""
    beside = os.path.dirname(file)
    sys.path.insert(0, beside)
    try:
        yield
    finally:
        if beside in sys.path:
            sys.path.remove(beside)


def _name_of(file: str) -> str:
    """Return the name of a script's module: the same in all programs, for cache keys and pickles."""
    stem = re.sub(r"\W", "_", os.path.basename(file).partition(".")[0])
    digest = hashlib.md5(os.fsencode(file), usedforsecurity=False).hexdigest()[:8]
    return f"{SCRIPT}{stem}_{digest}__"
