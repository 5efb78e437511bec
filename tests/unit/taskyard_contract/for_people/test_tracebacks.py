"""Frames of what executes code say nothing to who wrote it."""

import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from taskyard_contract.for_people.tracebacks import fold, text_of


def function_of(module: str, name: str, body: str = "return inner()") -> Callable[..., Any]:
    """Make a function that calls `inner`, in a module of this name."""
    namespace: dict[str, Any] = {"__name__": module}
    exec(compile(f"def {name}(inner):\n    {body}", f"{module}.py", "exec"), namespace)
    function: Callable[..., Any] = namespace[name]
    return function


def chain(*modules: str) -> BaseException:
    """Return what was raised below a call of these modules in turn; the last one raises."""
    *callers, last = modules
    call: Callable[[], Any] = partial(function_of(last, "raises", "raise ValueError('x')"), None)
    for module in reversed(callers):
        call = partial(function_of(module, "calls"), call)  # which has no frame of its own
    try:
        call()
    except ValueError as error:
        # Without the frames of this file.
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_globals["__name__"] == __name__:
            frames = frames.tb_next
        return error.with_traceback(frames)
    raise AssertionError


def files(error: BaseException) -> list[str]:
    return [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]


@pytest.mark.parametrize(
    ("modules", "left"),
    [
        (["taskyard._engine.x", "users"], ["users.py"]),
        (["users", "taskyard.tasks", "taskyard._data.x"], ["users.py"]),
        (["users", "taskyard.tasks", "users"], ["users.py", "users.py"]),
        (["taskyard._engine.x", "asyncio.runners", "asyncio.events", "users"], ["users.py"]),
        (["users", "asyncio.runners", "users"], ["users.py", "asyncio.runners.py", "users.py"]),
        (["users", "taskyards_own", "users"], ["users.py", "taskyards_own.py", "users.py"]),
    ],
)
def test_frames_are_folded(modules: list[str], left: list[str]) -> None:
    error = chain(*modules)
    text = text_of(error)
    fold(error)
    assert files(error) == left
    shown = [line.split('"')[1] for line in text.splitlines() if line.startswith("  File")]
    assert shown == left


def test_a_defect_of_taskyard_shows_where_it_is() -> None:
    error = chain("taskyard._engine.x", "taskyard._engine.y")
    assert 'File "taskyard._engine.y.py"' in text_of(error)


def test_groups_are_folded_inside_too() -> None:
    group = ExceptionGroup("both", [chain("taskyard.x", "users"), chain("users")])  # type: ignore[list-item]
    text = text_of(group)
    assert "taskyard.x.py" not in text
    assert text.count('File "users.py"') == 2


def test_notes_stay() -> None:
    error = chain("taskyard.x", "users")
    error.add_note("remember")
    assert text_of(error).endswith("ValueError: x\nremember\n")


def test_what_has_no_traceback_is_folded_to_nothing() -> None:
    error = ValueError("x")
    fold(error)
    assert error.__traceback__ is None
    assert text_of(error) == "ValueError: x\n"
