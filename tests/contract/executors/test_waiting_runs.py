"""Runs that wait for runs give their place to others, and to those they wait for first."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.task_codes import call

Bench = Any
Executor = Callable[[Path], AbstractAsyncContextManager[Bench]]


def run(executor: Executor, path: Path, scenario: Callable[[Bench], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with executor(path) as bench:
            await scenario(bench)

    asyncio.run(main())


async def block(bench: Bench, path: Path, count: int) -> list[Path]:
    """Have so many runs wait, each for a file of its own."""
    notes = [path / f"note-{number}" for number in range(count)]
    for at, note in enumerate(notes):
        bench.assign([call("wait_for_file", str(note))], nested=at >= 4)  # new ones would be returned
        await bench.until(lambda at=at: bench.handler.workforce.blocked() == at + 1)
    return notes


def eventually(condition: Callable[[], bool]) -> None:
    """Look now and then, outside the loop."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def at_work(bench: Bench) -> int:
    count: int = bench.handler.workforce.at_work()
    return count


def test_a_waiting_run_takes_no_room(executor: Executor, tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        notes = await block(bench, tmp_path, 3)
        assert bench.handler.demand().in_hand == 0
        assert at_work(bench) == 5, "two slots, and one worker for each that waits"
        bench.assign([call("write_file", str(notes[0])), call("write_file", str(notes[1]))])
        bench.assign([call("write_file", str(notes[2]))])
        await bench.until(lambda: len(bench.reported) == 6)

    run(executor, tmp_path, scenario)


def test_workers_too_many_rest_are_woken_and_let_go(
    executor: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskyard_agent.processes.workforce.REST_SECONDS", 0.5)

    async def scenario(bench: Bench) -> None:
        workforce = bench.handler.workforce
        for note in await block(bench, tmp_path, 2):
            note.touch()
        await bench.until(lambda: len(bench.reported) == 2)
        assert (at_work(bench), len(workforce.workers)) == (2, 4)
        known = set(workforce.workers)
        (tmp_path / "again").mkdir()
        [note] = await block(bench, tmp_path / "again", 1)
        assert set(workforce.workers) == known, "nobody new was forked"
        note.touch()
        await asyncio.to_thread(eventually, lambda: len(workforce.workers) == 2)
        bench.assign([call("echo", 1)] * 10)
        await bench.until(lambda: len(bench.reported) == 13)

    run(executor, tmp_path, scenario)


def test_what_others_wait_for_comes_first(executor: Executor, tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        busy = bench.assign([call("sleep", 0.5)]) + bench.assign([call("sleep", 0.5)])
        await bench.until(lambda: len(bench.started) == 2)
        new = [bench.assign([call("sleep", 0.05)])[0] for _ in range(2)]
        nested = [bench.assign([call("sleep", 0.05)], nested=True)[0] for _ in range(2)]
        await bench.until(lambda: len(bench.reported) == 6)
        order = [bench.reported.index(key.run_id) for key in (*busy, *nested, *new)]
        assert max(order[2:4]) < min(order[4:]), "nested runs were executed after new ones"

    run(executor, tmp_path, scenario)


def test_with_enough_waiting_runs_nothing_new_is_started_for_a_moment(
    executor: Executor, tmp_path: Path
) -> None:
    async def scenario(bench: Bench) -> None:
        notes = await block(bench, tmp_path, 4)
        assert bench.handler.demand().nested_only
        [new] = bench.assign([call("echo", 1)])
        await bench.until(lambda: bench.given_back == [new.run_id])
        [nested] = bench.assign([call("echo", 1)], nested=True)
        await bench.until(lambda: bench.reported == [nested.run_id])
        # But nothing that they wait for comes, so that there is room for others after all.
        await asyncio.to_thread(eventually, lambda: not bench.handler.demand().nested_only)
        [new] = bench.assign([call("echo", 1)])
        await bench.until(lambda: new.run_id in bench.reported)
        for note in notes:
            note.touch()
        await bench.until(lambda: len(bench.reported) == 6)

    run(executor, tmp_path, scenario)


def test_an_agent_whose_waiting_runs_were_killed_takes_new_work_again(
    executor: Executor, tmp_path: Path
) -> None:
    async def scenario(bench: Bench) -> None:
        await block(bench, tmp_path, 4)
        assert bench.handler.demand().nested_only
        bench.handler.on_lease_lost()
        await bench.until(lambda: not bench.held())
        await asyncio.to_thread(eventually, lambda: not bench.handler.demand().nested_only)
        [new] = bench.assign([call("echo", 1)])
        await bench.until(lambda: bench.reported == [new.run_id])

    run(executor, tmp_path, scenario)


def test_runs_that_wait_beyond_the_limit_keep_their_slots_and_the_last_is_refused(
    executor: Executor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskyard_agent.holding.admission.REFUSAL_SECONDS", 0.5)
    monkeypatch.setattr("taskyard_agent.holding.admission.DEEP_PATIENCE_SECONDS", 0.1)

    async def scenario(bench: Bench) -> None:
        workforce = bench.handler.workforce
        chain: list[Any] = []
        for at in range(4):
            caller = chain[-1].run_id if chain else b""
            note = str(tmp_path / f"note-{at}")
            chain += bench.assign([call("wait_for_file", note)], nested=at > 0, caller_run_id=caller)
            await bench.until(lambda at=at: workforce.blocked() == at + 1)
        assert at_work(bench) == 4, "two slots, and a worker for each of two that wait"
        assert not bench.lost
        # Nobody can execute what the last one waits for: it holds the last slot.
        bench.assign([call("write_file", note)], nested=True, caller_run_id=chain[-1].run_id)
        await bench.until(lambda: bench.lost == [chain[-1].run_id])
        await bench.until(lambda: len(bench.reported) == 1)
        assert workforce.blocked() == 3

    run(partial(executor, most_waiting=2), tmp_path, scenario)


def test_ending_waiting_runs_forks_no_worker_for_each_of_them(executor: Executor, tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await block(bench, tmp_path, 12)
        before = max(bench.handler.workforce.workers)
        bench.handler.on_lease_lost()
        await bench.until(lambda: not bench.held())
        assert max(bench.handler.workforce.workers) - before <= 2, "more were forked than there are slots"

    run(executor, tmp_path, scenario)
