"""Makes a program fail at a step that a test has named; Python imports this first where it is on its path.

No program of Taskyard knows of it: functions are replaced as soon as their modules are imported, also those
of `os`. `support.failpoints` says which, in a variable that child processes inherit.
"""

import errno
import functools
import importlib
import inspect
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

POINTS: list[dict[str, Any]] = json.loads(os.environ.get("FAILPOINTS", "[]"))
_link, _open, _kill = os.readlink, os.open, os.kill  # as they are when nothing fails
_calls: Counter[int] = Counter()


def _meets(point: dict[str, Any], args: tuple[Any, ...]) -> bool:
    """Whether a call is one of those meant, and the one of them that is to fail."""
    if point["about"] and not any(point["about"] in about for about in _subjects(args)):
        return False
    _calls[id(point)] += 1
    return _calls[id(point)] >= point["number"] and _marks(point)


def _subjects(args: tuple[Any, ...]) -> Iterator[str]:
    """Iterate over what a call is about: paths, names, what open files are called, and content."""
    for each in args:
        if isinstance(each, int):
            try:
                yield _link(f"/proc/self/fd/{each}")
            except OSError:
                continue
        elif isinstance(each, str | os.PathLike):
            yield str(each)
        else:
            slots = [getattr(each, slot, None) for slot in getattr(each, "__slots__", ())]
            yield str(getattr(each, "name", slots or each))


def _marks(point: dict[str, Any]) -> bool:
    """Note that a point was met; False when it was met as often as it should, by whatever process."""
    for number in range(point["times"]):
        try:
            os.close(_open(f"{point['mark']}.{number}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        return True
    return False


def _fail(point: dict[str, Any]) -> None:
    if point["action"] == "kill":
        _kill(os.getpid(), signal.SIGKILL)
    number = getattr(errno, point["action"])
    raise OSError(number, os.strerror(number))


def _wrapped(point: dict[str, Any], inner: Callable[..., Any]) -> Callable[..., Any]:
    def check(args: tuple[Any, ...]) -> None:
        if _meets(point, args):
            _fail(point)

    if point["when"] == "item" and inspect.isasyncgenfunction(inner):

        async def replaced(*args: Any, **kwargs: Any) -> Any:
            async for item in inner(*args, **kwargs):
                check(args)
                yield item

    elif point["when"] == "item":

        def replaced(*args: Any, **kwargs: Any) -> Any:
            for item in inner(*args, **kwargs):
                check(args)
                yield item

    elif point["when"] == "end":

        def replaced(*args: Any, **kwargs: Any) -> Any:
            yield from inner(*args, **kwargs)
            check(args)

    elif inspect.iscoroutinefunction(inner):

        async def replaced(*args: Any, **kwargs: Any) -> Any:
            if point["when"] == "before":
                check(args)
            found = await inner(*args, **kwargs)
            if point["when"] == "after":
                check(args)
            return found

    else:

        def replaced(*args: Any, **kwargs: Any) -> Any:
            if point["action"] == "false":
                return False
            if point["when"] == "before":
                check(args)
            found = inner(*args, **kwargs)
            if point["when"] == "after":
                check(args)
            return found

    return functools.wraps(inner)(replaced)


def _patch(point: dict[str, Any], module: Any) -> None:
    *outer, name = point["function"].split(":")[1].split(".")
    holder = functools.reduce(getattr, outer, module)
    setattr(holder, name, _wrapped(point, getattr(holder, name)))


class _Patching(MetaPathFinder):
    """Finds modules as Python does, and patches them when they have been executed."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        points = [point for point in POINTS if point["function"].split(":")[0] == name]
        spec = PathFinder.find_spec(name, path, target) if points else None
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                execute(module)
                for point in points:
                    _patch(point, module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, _Patching())
for each in POINTS:
    if (known := each["function"].split(":")[0]) in sys.modules:
        _patch(each, importlib.import_module(known))
