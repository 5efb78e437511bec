"""Tasks that an agent serves by name in tests."""

import os
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from taskyard import Completed, get_run_logger, task
from taskyard.context import TaskRunContext, get_run_context


class ImageTooLarge(Exception):
    """Raised here, told to others in words."""


@dataclass
class Size:
    """Two numbers."""

    width: int
    height: int


def _note(task: Any, run: Any, state: Any) -> None:
    Path(os.environ["TASKYARD_TEST_NOTE"]).write_text(f"{run.task_name} {state.name}")


@task(name="image.resize", version="7", on_failure=[_note])
def resize(size: Size, by: float = 1.0) -> Size:
    """Make a size larger,
    or smaller."""
    if size.width * by > 1000:
        raise ImageTooLarge(f"{size.width} x {by:g}")
    return Size(int(size.width * by), int(size.height * by))


@task
def later(day: date, *days: int) -> str:
    return f"{type(day).__name__} {day.isoformat()} {days}"


@task
def add(a: int, b: int = 1) -> int:
    return a + b


@task
async def add_inside(a: int) -> int:
    """Calls another task."""
    return add(a, 10)


@task
def about() -> dict[str, Any]:
    get_run_logger().info("said by name")
    context = get_run_context()
    assert isinstance(context, TaskRunContext)
    return {"task": context.task.name, "name": context.task_run.name, "pid": os.getpid()}


@task(task_run_name="named {value}")
def echo(value: Any) -> Any:
    return value


@task
def unwritable() -> Any:
    return {"list": [1, {2}]}


@task
def by_hand() -> Any:
    return Completed(data={"n": 1}, message="by hand")


@task
def flaky(path: str) -> int:
    """Fail twice."""
    note = Path(path)
    note.write_text(note.read_text() + "x" if note.exists() else "x")
    if len(note.read_text()) < 3:
        raise OSError("again")
    return len(note.read_text())


@task
def kind_of(values: list[Any]) -> list[str]:
    return [type(value).__name__ for value in values]
