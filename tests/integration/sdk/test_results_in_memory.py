"""Programs hold the futures of many runs, and a part of their results: the rest is read again."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from random import Random

import numpy as np
import pytest
from support.plane_and_agent import Plane, end_sessions

from taskyard import as_completed, flow, task
from taskyard._data.values.kept import KEPT, Dropped
from taskyard.exceptions import MissingResult
from taskyard.futures import Future

SIZE = 40_000
COUNT = 60
MEBIBYTE = 1024 * 1024


@task
def make(number: int) -> bytes:
    return number.to_bytes(4) * (SIZE // 4)


@task
def fail(number: int) -> None:
    raise ValueError(f"{number} " + "x" * 2_000)


@task
def array(number: int) -> np.ndarray:
    return np.full(MEBIBYTE // 8, number)


@task
def read_all_inside(count: int) -> tuple[int, int, int]:
    most, KEPT.most = KEPT.most, MEBIBYTE  # what the program has set counts for sessions that begin later
    try:
        futures = make.map(range(count))
        futures.wait()
        right = sum(future.result() == make.fn(number) for number, future in enumerate(futures))
        return right, sum(isinstance(future._outcome, Dropped) for future in futures), KEPT.size
    finally:
        KEPT.most = most


@pytest.fixture(autouse=True)
def little_room(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of the results fits."""
    monkeypatch.setenv("TASKYARD_RESULTS_IN_MEMORY", "1")


def is_dropped(future: Future[bytes]) -> bool:
    return isinstance(future._outcome, Dropped)


def test_what_is_held_is_bounded_and_every_result_is_there_twice() -> None:
    @flow
    def main() -> tuple[int, int]:
        futures = make.map(range(COUNT))
        futures.wait()
        dropped = sum(map(is_dropped, futures))
        for _ in range(2):
            assert [future.result() for future in futures] == [make.fn(number) for number in range(COUNT)]
        assert futures.result() == [make.fn(number) for number in range(COUNT)]
        return dropped, KEPT.size

    dropped, size = main()
    assert dropped >= COUNT - MEBIBYTE // SIZE
    assert size <= MEBIBYTE


def test_results_are_consumed_in_whatever_order_they_come() -> None:
    @flow
    def main() -> set[bytes]:
        return {future.result()[:4] for future in as_completed(make.map(range(COUNT)))}

    assert main() == {number.to_bytes(4) for number in range(COUNT)}


def test_failures_are_read_again() -> None:
    @flow
    def main() -> list[str]:
        futures = fail.map(range(600))
        futures.wait()
        assert any(map(is_dropped, futures))
        return [str(error).split()[0] for error in futures.result(raise_on_failure=False)]

    assert main() == [str(number) for number in range(600)]


def test_large_values_are_mapped_again() -> None:
    @flow
    def main() -> list[int]:
        futures = array.map(range(5))
        firsts = [int(future.result()[0]) for future in futures]
        assert KEPT.size <= 2 * MEBIBYTE
        return firsts + [int(future.result()[-1]) for future in futures]

    assert main() == [*range(5), *range(5)]


def test_a_flow_run_in_a_worker_holds_no_more() -> None:
    right, dropped, size = read_all_inside(COUNT)
    assert right == COUNT
    assert dropped >= COUNT - MEBIBYTE // SIZE
    assert size <= MEBIBYTE


def test_threads_read_what_others_have_dropped() -> None:
    @flow
    def main() -> int:
        futures = make.map(range(COUNT))
        futures.wait()

        def read(seed: int) -> int:
            order = Random(seed).sample(range(COUNT), COUNT)
            return sum(futures[number].result() == make.fn(number) for number in order)

        with ThreadPoolExecutor(6) as threads:
            return sum(threads.map(read, range(12)))

    assert main() == 12 * COUNT
    assert KEPT.size <= MEBIBYTE


def test_results_are_read_again_during_a_restart(plane: Plane) -> None:
    @flow
    def main() -> list[bytes]:
        futures = make.map(range(COUNT))
        futures.wait()
        plane.server.kill()
        with ThreadPoolExecutor(1) as thread:
            results = thread.submit(futures.result)
            plane.server = plane.start_server()
            return results.result(60)

    assert main() == [make.fn(number) for number in range(COUNT)]


def test_a_run_that_was_removed_meanwhile_is_a_missing_result(plane: Plane) -> None:
    @flow
    def main() -> None:
        futures = make.map(range(COUNT))
        futures.wait()
        gone, there = [number for number, future in enumerate(futures) if is_dropped(future)][:2]
        lost = futures[gone]
        plane.server.kill()
        remove(plane, lost.run_id)
        plane.server = plane.start_server()
        with pytest.raises(
            MissingResult, match=f"task run {lost.task_run_id} is no longer at the control plane"
        ):
            lost.result()
        assert lost.done()
        assert futures[there].result() == make.fn(there)

    main()


def remove(plane: Plane, run_id: bytes) -> None:
    with sqlite3.connect(plane.home / "taskyard.db") as database:
        assert database.execute("DELETE FROM run WHERE run_id = ?", (run_id,)).rowcount == 1
    database.close()


def test_a_limit_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    end_sessions()  # a session reads it once
    monkeypatch.setenv("TASKYARD_RESULTS_IN_MEMORY", "much")
    with pytest.raises(ValueError, match="expected a whole number of MiB"):
        make(1)
