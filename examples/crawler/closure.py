"""The flow: a package, what it needs, what that needs, until nothing is new."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from client import Index, Package
from taskyard import State, Task, flow, task
from taskyard.client.schemas import TaskRun


def failed_at_once(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Say whether an attempt may be repeated: not when it has used up the patience of whoever waits."""
    return state.name != "TimedOut"


@task(retries=2, retry_delay_seconds=0.1, retry_condition_fn=failed_at_once)
async def look_up(index: Index, name: str) -> Package:
    """Ask an index for a package."""
    return await index.package(name)


@dataclass
class Requirements:
    """What a package needs."""

    packages: dict[str, Package] = field(default_factory=dict)
    unknown: dict[str, list[str]] = field(default_factory=dict)
    asked: int = 0

    @property
    def kilobytes(self) -> int:
        """The size of all packages that are known."""
        return sum(package.kilobytes for package in self.packages.values())


@flow
async def requirements_of(name: str, index: Index, patience: float) -> Requirements:
    """Return all packages that a package needs, itself included.

    Args:
        name: The package.
        index: Whom to ask.
        patience: How many seconds an answer may take.
    """
    found = Requirements()
    ask = look_up.with_options(timeout_seconds=patience)
    known = {name}

    async def visit(name: str) -> None:
        found.asked += 1
        state: State[Package] = await ask(index, name, return_state=True)
        if not state.is_completed():
            reason = "took too long" if state.name == "TimedOut" else str(state.data)
            found.unknown.setdefault(reason, []).append(name)
            return
        package = state.result()
        found.packages[name] = package
        new = [needed for needed in package.needs if needed not in known]
        known.update(new)
        await asyncio.gather(*(visit(needed) for needed in new))

    await visit(name)
    return found
