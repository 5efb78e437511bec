"""The body of a flow that is repeated keeps what has completed: runs of before stand for the same calls."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from support.plane_and_agent import Plane

from taskyard import flow, task, unmapped
from taskyard.futures import wait
from taskyard.runtime import flow_run

RUNNERS = ["agents", "threads"]


@pytest.fixture(params=RUNNERS)
def runner(request: pytest.FixtureRequest, plane: Plane, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who executes the tasks."""
    monkeypatch.setenv("TASKYARD_TASK_RUNNER", request.param)
    return str(request.param)


def note(file: Path, line: object) -> None:
    with file.open("a") as opened:
        opened.write(f"{line}\n")


def lines(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


@task
def load(log: Path, number: int) -> int:
    note(log, f"load-{number}")
    return number * 10


@task
def breaks_once(log: Path, value: int) -> int:
    note(log, f"breaks-{value}")
    if lines(log).count(f"breaks-{value}") == 1 and value % 20 == 0:
        raise LookupError("not yet")
    return value + 1


@flow(retries=1)
def chain(log: Path) -> int:
    note(log, "body")
    first = load.submit(log, 2)
    return breaks_once(log, first) + load(log, 3)


def test_row_60_and_b11_4_a_retry_executes_only_what_had_not_completed(runner: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert chain(log) == 51
    assert lines(log) == ["body", "load-2", "breaks-20", "body", "breaks-20", "load-3"]


@flow(retries=2)
def mapped(log: Path, count: int) -> list[int]:
    note(log, "body")
    loaded = load.map(unmapped(log), range(count))
    broken = breaks_once.map(unmapped(log), loaded)
    wait(broken)
    return [each.result() for each in broken]


def test_c11_single_children_of_a_map_are_kept(runner: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert mapped(log, 6) == [1, 11, 21, 31, 41, 51]
    done = lines(log)
    assert done.count("body") == 2
    assert sorted(each for each in done if each.startswith("load")) == [f"load-{n}" for n in range(6)]
    repeated = {each for each in done if done.count(each) == 2} - {"body"}
    assert repeated == {"breaks-0", "breaks-20", "breaks-40"}


@task
async def fetch(log: Path, number: int) -> int:
    note(log, f"fetch-{number}")
    return number


@flow(retries=1)
async def in_a_loop(log: Path) -> int:
    note(log, "body")
    values = [await fetch(log, 1), await fetch.submit(log, 2)]
    return sum(values) + breaks_once(log, 0)


def test_asynchronous_flows_keep_results_as_well(runner: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert asyncio.run(in_a_loop(log)) == 4
    assert lines(log) == ["body", "fetch-1", "fetch-2", "breaks-0", "body", "breaks-0"]


@task
def draw(log: Path) -> int:
    note(log, "draw")
    return len(lines(log))


@flow(retries=1)
def alike(log: Path) -> list[int]:
    drawn = [draw(log), draw(log), draw(log)]
    if lines(log)[-1] != "again":
        note(log, "again")
        note(log.with_suffix(".first"), drawn)
        raise LookupError
    return drawn


def test_calls_that_are_alike_keep_each_its_own_result(runner: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert alike(log) == [1, 2, 3]
    assert lines(log).count("draw") == 3


@task(refresh_cache=True)
def fresh(log: Path) -> None:
    note(log, "fresh")


@flow(retries=1)
def refreshing(log: Path) -> None:
    fresh(log)
    breaks_once(log, 0)


def test_what_refreshes_the_cache_is_executed_again(runner: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    refreshing(log)
    assert lines(log).count("fresh") == 2


@flow
def inner(log: Path, value: int) -> int:
    note(log, f"inner-{value}")
    return load(log, value) + breaks_once(log, value)


@flow(retries=1)
def outer(log: Path) -> list[Any]:
    return [flow_run.id, inner(log, 1), inner(log, 20)]


def test_b11_4_nested_flows_that_completed_are_kept_and_others_are_taken_up(
    runner: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    assert outer(log)[1:] == [12, 221]
    done = lines(log)
    assert done.count("inner-1") == done.count("load-1") == done.count("breaks-1") == 1
    assert done.count("inner-20") == done.count("breaks-20") == 2
    assert done.count("load-20") == (1 if runner == "agents" else 2), "threads record no arguments"
