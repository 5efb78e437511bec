"""What a run has raised is raised again where its result is asked for, by way of many functions of Taskyard.

They say nothing to whoever reads the traceback, so public doors fold them (`fold_run`). All other exceptions,
defects of Taskyard among them, keep their frames.
"""

from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any, Final, TypeVar, cast

from taskyard_contract.for_people.tracebacks import fold

F = TypeVar("F", bound=Callable[..., Any])

_RAISING: Final[set[CodeType]] = set()


def raises_of_runs(function: F) -> F:
    """Decorate a function that raises what runs have raised; it stays the same function."""
    _RAISING.add(cast(FunctionType, function).__code__)
    return function


def fold_run(error: BaseException) -> None:
    """Take Taskyard's frames out of the traceback of what a run has raised."""
    frames = error.__traceback__
    while frames is not None:
        if frames.tb_frame.f_code in _RAISING:
            fold(error)
            return
        frames = frames.tb_next
