"""Flows that were loaded from files: what they define finds its way to workers."""

import asyncio
import os
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.plane_and_agent import Plane

from taskyard.flows import (
    Flow,
    flow,
    load_flow_from_entrypoint,
    load_flow_from_script,
    load_flows_from_script,
)

HELPER = """
    def tripled(x):
        return x * 3
"""
SCRIPT = """
    import os
    from dataclasses import dataclass

    from taskyard import flow, task
    from helper_of_the_script import tripled

    FACTOR = {factor}

    @dataclass
    class Order:
        number: int

    @task
    def ordered(x):
        return Order(tripled(x) * FACTOR), os.getpid()

    @task
    def number_of(found):
        return found[0].number, type(found[0]) is Order

    @flow
    def main(count: int = 2):
        found = ordered.map(range(count))
        numbers = number_of.map(found).result()
        return [one[0] for one in numbers], all(one[1] for one in numbers), found[0].result()[1]

    @flow
    async def waiting():
        return (await ordered.submit(1))[0].number

    class Pipeline:
        @classmethod
        @flow
        def run(cls, x):
            return cls.__name__, number_of(ordered(x))[0]

    if __name__ == "__main__":
        raise RuntimeError("a loaded script is not the main program")
"""


def written(folder: Path, factor: int = 1) -> Path:
    """Write a project into a folder and return its script."""
    folder.mkdir(exist_ok=True)
    (folder / "helper_of_the_script.py").write_text(textwrap.dedent(HELPER))
    script = folder / "etl.py"
    script.write_text(textwrap.dedent(SCRIPT.format(factor=factor)))
    return script


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Path]:
    """A script with a module beside it, neither of them on the import path."""
    yield written(tmp_path / "project")
    sys.modules.pop("helper_of_the_script", None)


@pytest.mark.parametrize("runner", ["agents", "threads"])
def test_row_60_a_loaded_flow_runs_its_tasks_where_it_is_told_to(
    plane: Plane, script: Path, runner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKYARD_TASK_RUNNER", runner)
    numbers, are_orders, process = load_flow_from_entrypoint(f"{script}:main")(3)
    assert (numbers, are_orders) == ([0, 3, 6], True)
    assert (process == os.getpid()) == (runner == "threads")
    assert asyncio.run(load_flow_from_entrypoint(f"{script}:waiting")()) == 3
    assert load_flow_from_entrypoint(f"{script}:Pipeline.run")(2) == ("Pipeline", 6)


def test_a_script_that_was_changed_is_executed_again_also_by_workers(plane: Plane, script: Path) -> None:
    assert load_flow_from_entrypoint(f"{script}:main")()[0] == [0, 3]
    written(script.parent, factor=10)
    main = load_flow_from_entrypoint(f"{script}:main")
    assert main()[:2] == ([0, 30], True)
    assert load_flow_from_script(str(script), "main") is main


def test_scripts_that_are_called_alike_do_not_meet(plane: Plane, script: Path, tmp_path: Path) -> None:
    other = written(tmp_path / "other", factor=100)
    assert load_flow_from_script(str(script), "main")()[0] == [0, 3]
    assert load_flow_from_script(str(other), "main")()[0] == [0, 300]
    assert [one.name for one in load_flows_from_script(str(other))] == ["main", "waiting"]


class Storage:
    """Fetches a project, as storage objects of users do."""

    def __init__(self, factor: int) -> None:
        self._factor = factor
        self.destination = Path()

    def set_base_path(self, path: Path) -> None:
        self.destination = path / "fetched"

    async def pull_code(self) -> None:
        written(self.destination, self._factor)


@pytest.mark.parametrize("make", [str, Path, lambda path: Storage(1)], ids=["str", "path", "storage"])
def test_row_60_a_flow_from_a_source_runs_on_agents(plane: Plane, script: Path, make: Any) -> None:
    source = make(script.parent)
    assert Flow.from_source(source, "etl.py:main")()[:2] == ([0, 3], True)

    async def program() -> Any:
        loaded = await flow.from_source(source=source, entrypoint="etl.py:waiting")  # type: ignore[attr-defined]
        return await loaded()

    assert asyncio.run(program()) == 3
