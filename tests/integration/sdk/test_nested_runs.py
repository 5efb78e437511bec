"""Runs that submit runs: those come first, and the processes that wait for them stay few."""

import os
from collections.abc import Iterable
from pathlib import Path

from support.plane_and_agent import Plane

from taskyard import flow, task


@task
def leaf(number: int) -> int:
    return number


@task
def branch(number: int, log: Path) -> int:
    note(log, "begins")
    total = sum(leaf.map([number] * 3).result())
    note(log, "ends")
    return total


@task
def fibonacci(number: int) -> int:
    if number < 2:
        return number
    one, other = fibonacci.submit(number - 1), fibonacci.submit(number - 2)
    return one.result() + other.result()


@task
def process() -> int:
    return os.getpid()


@task
def chained(depth: int) -> int:
    return 1 + chained(depth - 1) if depth else 0


def note(log: Path, what: str) -> None:
    with log.open("a") as file:
        file.write(f"{what}\n")


def most_at_once(lines: Iterable[str]) -> int:
    most = now = 0
    for line in lines:
        now += 1 if line == "begins" else -1
        most = max(most, now)
    return most


def test_runs_that_others_wait_for_come_before_new_ones(plane: Plane, tmp_path: Path) -> None:
    log = tmp_path / "log"

    @flow
    def main() -> list[int]:
        return branch.map(range(60), log).result()

    assert main() == [3 * number for number in range(60)]
    # Two workers: each may have begun a run when those nested in another one were not known yet.
    assert most_at_once(log.read_text().splitlines()) <= 15, "breadth first"


def test_a_tree_of_runs_is_walked_depth_first(plane: Plane) -> None:
    @flow
    def main() -> int:
        return fibonacci.submit(9).result()

    assert main() == 34


def test_a_chain_is_as_deep_as_it_has_to_be(plane: Plane) -> None:
    @flow
    def main() -> int:
        return chained(12)

    assert main() == 12


def test_afterwards_there_are_as_many_at_work_as_there_are_slots(plane: Plane) -> None:
    @flow
    def main() -> set[int]:
        assert chained(6) == 6
        return {process() for _ in range(20)}

    assert len(main()) <= 2
