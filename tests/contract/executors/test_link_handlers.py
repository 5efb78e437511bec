"""What every executor owes its session: each run it was given ends in exactly one way."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from support.task_codes import call

Bench = Any
Executor = Callable[[Path], AbstractAsyncContextManager[Bench]]
Scenario = Callable[[Bench], Coroutine[Any, Any, None]]


def run(executor: Executor, path: Path, scenario: Scenario) -> None:
    async def main() -> None:
        async with executor(path) as bench:
            await scenario(bench)
            assert bench.handler.demand().in_hand == len(bench.held()) == 0
            assert len(set(bench.ended())) == len(bench.ended())

    asyncio.run(main())


def test_every_run_is_reported_once(executor: Executor, tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        keys = [key for _ in range(5) for key in bench.assign([call("echo", 1)] * 50)]
        assert bench.handler.demand().in_hand == 250
        assert bench.held() == {key.run_id for key in keys}
        await bench.until(lambda: len(bench.reported) == 250)
        assert sorted(bench.reported) == sorted(key.run_id for key in keys)

    run(executor, tmp_path, scenario)


def test_runs_of_a_dead_worker_end_all_the_same(executor: Executor, tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        calls = [call("echo", 1)] * 20
        calls[3] = calls[11] = call("exit", 1)
        keys = bench.assign(calls)
        await bench.until(lambda: len(bench.ended()) == 20)
        assert set(bench.lost) == {keys[3].run_id, keys[11].run_id}

    run(executor, tmp_path, scenario)


@pytest.mark.parametrize("confirm", [True, False], ids=["cancel", "drop"])
def test_ended_runs_are_confirmed_only_when_cancelled(
    executor: Executor, tmp_path: Path, confirm: bool
) -> None:
    async def scenario(bench: Bench) -> None:
        keys = bench.assign([call("sleep", 30)] * 6)
        await bench.until(lambda: bench.started)
        (bench.handler.on_cancel if confirm else bench.handler.on_drop)(keys)
        await bench.until(lambda: not bench.held())
        named = sorted(key.run_id for key in keys)
        # What waited behind slow runs may have been returned before.
        assert sorted(bench.cancelled + bench.given_back) == named if confirm else not bench.cancelled
        assert len(bench.cancelled) >= 2 or not confirm
        assert not bench.reported
        assert not bench.lost

    run(executor, tmp_path, scenario)


def test_a_lost_lease_loses_what_executes_and_keeps_the_rest_for_the_server_to_decide(
    executor: Executor, tmp_path: Path
) -> None:
    async def scenario(bench: Bench) -> None:
        keys = bench.assign([call("sleep", 30)] * 6)
        await bench.until(lambda: bench.started)
        executing = set(bench.started)
        bench.handler.on_doubt(True)
        bench.handler.on_lease_lost()
        await bench.until(lambda: executing <= set(bench.lost))
        rest = {key.run_id for key in keys} - set(bench.ended())
        assert bench.held() == rest
        assert set(bench.ended()) == set(bench.lost + bench.given_back)
        bench.handler.on_drop([key for key in keys if key.run_id in rest])
        bench.handler.on_doubt(False)
        await bench.until(lambda: not bench.held())
        bench.assign([call("echo", 1)])
        await bench.until(lambda: len(bench.reported) == 1)

    run(executor, tmp_path, scenario)


def test_draining_returns_the_unstarted_and_reports_the_rest(executor: Executor, tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        bench.assign([call("sleep", 1.0)] * 8)
        await bench.until(lambda: bench.started)
        bench.handler.on_drain()
        late = bench.assign([call("echo", 1)])
        await bench.until(lambda: len(bench.ended()) == 9)
        assert 1 <= len(bench.reported) <= 2
        assert late[0].run_id in bench.given_back

    run(executor, tmp_path, scenario)


def test_nothing_starts_while_the_lease_is_in_doubt(executor: Executor, tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        bench.handler.on_doubt(True)
        note = tmp_path / "note"
        bench.assign([call("write_file", str(note))])
        await asyncio.sleep(0.2)
        assert not note.exists()
        bench.handler.on_doubt(False)
        await bench.until(lambda: len(bench.reported) == 1)

    run(executor, tmp_path, scenario)


def test_ending_unknown_runs_changes_nothing(executor: Executor, tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        keys = bench.assign([call("echo", 1)])
        await bench.until(lambda: len(bench.reported) == 1)
        bench.handler.on_cancel(keys)
        bench.handler.on_drop(keys)
        assert not bench.cancelled

    run(executor, tmp_path, scenario)
