"""What is recorded of assets: who made them, of what, and what became of that."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from support.plane_and_agent import Plane
from support.programs import eventually

from taskyard import State, flow, task
from taskyard.assets import (
    Asset,
    AssetProperties,
    AssetRecord,
    MaterializingTask,
    add_asset_metadata,
    aread_asset,
    materialize,
    read_asset,
    read_assets,
)
from taskyard.cache_policies import INPUTS
from taskyard.context import hydrated_context, serialize_context
from taskyard.runtime import flow_run


@pytest.fixture(params=["agents", "threads"])
def runner(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Who executes the runs."""
    monkeypatch.setenv("TASKYARD_TASK_RUNNER", request.param)
    return str(request.param)


@pytest.fixture
def base() -> str:
    """The beginning of keys that no other test uses."""
    return f"test://{uuid4().hex}/"


def _record(key: str) -> AssetRecord:
    found = read_asset(key)
    assert found is not None
    return found


def _upstream(key: str) -> list[str]:
    latest = _record(key).latest
    assert latest is not None
    return latest.upstream


def test_row_30_what_a_run_made_is_recorded(plane: Plane, runner: str, base: str) -> None:
    orders = Asset(base + "orders", properties=AssetProperties(name="Orders", owners=["ada"]))

    @materialize(orders, base + "index", by="duck", asset_deps=[base + "raw"])
    def load() -> int:
        orders.add_metadata({"rows": 3})
        add_asset_metadata(base + "index", {"size": 7})
        add_asset_metadata(base + "index", {"size": 8, "parts": [1]})
        return 3

    @flow
    def pipeline() -> tuple[str, str]:
        state = load(return_state=True)
        return str(state.state_details.task_run_id), str(flow_run.id)

    run_id, flow_run_id = pipeline()
    found = _record(base + "orders")
    assert (found.asset.properties, found.count) == (orders.properties, 1)
    latest = found.latest
    assert latest is not None
    assert (latest.run_id, latest.flow_run_id) == (run_id, flow_run_id)
    assert (latest.task, latest.succeeded, latest.state) == ("load", True, "Completed")
    assert (latest.materialized_by, latest.upstream) == ("duck", [base + "raw"])
    assert latest.metadata == {"rows": 3}
    index = _record(base + "index").latest
    assert index is not None
    assert index.metadata == {"size": 8, "parts": [1]}
    assert _record(base + "raw").latest is None
    assert [each.asset.key for each in read_assets(base)] == [base + "index", base + "orders", base + "raw"]
    assert read_asset(base + "other") is None
    assert read_asset("") is None
    assert read_asset("x" * 513) is None


def test_b18_only_the_last_failure_of_a_run_is_recorded(
    plane: Plane, runner: str, base: str, tmp_path: Path
) -> None:
    @materialize(base + "flaky", retries=1)
    def flaky(fails: int) -> None:
        with open(tmp_path / "calls", "a") as calls:
            calls.write("x")
        add_asset_metadata(base + "flaky", {"calls": len((tmp_path / "calls").read_text())})
        if len((tmp_path / "calls").read_text()) <= fails:
            raise ValueError("no")

    @flow
    def once(fails: int) -> State[None]:
        return flaky(fails, return_state=True)

    assert once(1).is_completed()  # type: ignore[attr-defined]
    entries = _record(base + "flaky").materializations
    assert [(each.succeeded, each.metadata) for each in entries] == [(True, {"calls": 2})]
    (tmp_path / "calls").unlink()
    assert once(2, return_state=True).is_failed()
    entries = _record(base + "flaky").materializations
    assert [(each.succeeded, each.state) for each in entries] == [(True, "Completed"), (False, "Failed")]
    assert entries[1].metadata == {"calls": 2}


def test_b18_runs_whose_time_is_up_have_failed(plane: Plane, runner: str, base: str) -> None:
    @materialize(base + "sync", timeout_seconds=0.3, asset_deps=[base + "raw"])
    def blocks() -> None:
        for _ in range(50):
            time.sleep(0.1)

    @materialize(base + "async", timeout_seconds=0.3, asset_deps=[base + "raw"])
    async def awaits() -> None:
        await asyncio.sleep(60)

    @flow
    def body() -> list[str]:
        futures = [blocks.submit(), awaits.submit()]
        return [str(future.task_run_id) for future in futures if future.wait()]

    ids = body()
    for name, run_id in zip(("sync", "async"), ids, strict=True):
        found = eventually(partial(read_asset, base + name), f"what became of {name}")
        (made,) = found.materializations
        assert (made.run_id, made.succeeded, made.state) == (run_id, False, "TimedOut")
        assert (made.upstream, made.task != "") == ([base + "raw"], True)


@pytest.mark.parametrize("fails", [False, True])
def test_b18_generators_materialize_too(plane: Plane, runner: str, base: str, fails: bool) -> None:
    @materialize(base + "rows")
    def rows() -> Any:
        add_asset_metadata(base + "rows", {"rows": 2})
        yield 1
        if fails:
            raise ValueError("no")
        yield 2

    @flow
    def body() -> None:
        for each in (lambda: list(rows()), lambda: rows.submit().result()):
            if fails:
                with pytest.raises(ValueError, match="no"):
                    each()
            else:
                assert each() == [1, 2]

    body()
    entries = _record(base + "rows").materializations
    assert [(each.succeeded, each.metadata) for each in entries] == [(not fails, {"rows": 2})] * 2


def test_b18_what_was_undone_is_not_made(plane: Plane, runner: str, base: str) -> None:
    @materialize(base + "undone")
    def undone() -> int:
        return 1

    @undone.on_commit
    def refuses(transaction: Any) -> None:
        raise ValueError("no")

    @flow
    def body() -> str:
        return str(undone(return_state=True).name)

    assert body() == "RolledBack"
    (made,) = _record(base + "undone").materializations
    assert (made.succeeded, made.state) == (False, "RolledBack")


def test_b18_what_comes_from_the_cache_is_no_materialization(plane: Plane, runner: str, base: str) -> None:
    @materialize(base + "cached", cache_policy=INPUTS)
    def cached(key: str) -> str:
        return key

    @flow
    def twice() -> list[str]:
        states = [cached(base, return_state=True) for _ in range(2)]
        return [state.name for state in states]

    assert twice() == ["Completed", "Cached"]
    assert _record(base + "cached").count == 1


def test_b18_tasks_that_make_nothing_pass_assets_on(plane: Plane, runner: str, base: str) -> None:
    @materialize(base + "a")
    def make_a() -> list[int]:
        return [1]

    @task(asset_deps=[base + "outside"])
    def plain(value: Any) -> Any:
        return [*value, 2]

    @task
    def unrelated() -> list[int]:
        return [0]

    def maker(name: str) -> Any:
        return materialize(base + name)(lambda *values: [name]).with_options(name=name)

    @flow
    def pipeline() -> None:
        a = make_a.submit()
        through = plain.submit(a)
        maker("by-future").submit(through).wait()
        maker("in-a-list").submit({"x": [through]}).wait()
        maker("waited-for").submit(wait_for=[a]).wait()
        maker("unrelated").submit(unrelated.submit()).wait()
        value = plain(make_a())
        maker("by-value")(value)
        maker("by-state")(make_a(return_state=True))
        b = maker("b").submit(a)
        maker("after-b").submit(b).wait()
        for future in maker("mapped").map([a, a]):
            future.wait()
        maker("after-map").submit(plain.map([a])).wait()

    pipeline()
    both = [base + "a", base + "outside"]
    assert _upstream(base + "by-future") == both
    assert _upstream(base + "in-a-list") == both
    assert _upstream(base + "waited-for") == [base + "a"]
    assert _upstream(base + "unrelated") == []
    assert _upstream(base + "by-value") == both
    assert _upstream(base + "by-state") == [base + "a"]
    assert _upstream(base + "after-b") == [base + "b"]
    assert _upstream(base + "mapped") == [base + "a"]
    assert _record(base + "mapped").count == 2
    assert _upstream(base + "after-map") == both


def test_row_30_coroutines_materialize_too(plane: Plane, runner: str, base: str) -> None:
    @materialize(base + "a")
    async def make_a() -> dict[str, int]:
        add_asset_metadata(base + "a", {"async": True})
        return {"a": 1}

    @materialize(base + "b")
    async def make_b(a: dict[str, int]) -> dict[str, int]:
        return a

    @flow
    async def pipeline() -> Any:
        await make_b(await make_a())
        return [await aread_asset(base + "b"), await read_asset(base + "b")]  # type: ignore[misc]

    first, second = asyncio.run(pipeline())
    assert first == second
    assert first.latest.upstream == [base + "a"]
    assert _record(base + "a").latest.metadata == {"async": True}  # type: ignore[union-attr]


def test_row_31_other_options_keep_the_assets(plane: Plane, runner: str, base: str) -> None:
    @materialize(base + "kept", by="duck", asset_deps=[base + "raw"])
    def make() -> None: ...

    other = make.with_options(retries=1, name="other")
    assert type(other) is MaterializingTask
    assert (other.assets, other.materialized_by) == ([Asset(base + "kept")], "duck")
    assert other.asset_deps == [Asset(base + "raw")]
    third = other.with_options(assets=[base + "third"])

    @flow
    def pipeline() -> None:
        other()
        third()

    pipeline()
    assert [_record(base + name).latest.task for name in ("kept", "third")] == ["other"] * 2  # type: ignore[union-attr]
    assert _upstream(base + "third") == [base + "raw"]


def test_b18_metadata_of_other_assets_is_refused(plane: Plane, runner: str, base: str) -> None:
    @materialize(base + "own")
    def make(key: str, metadata: dict[str, Any]) -> str:
        with pytest.raises(ValueError, match="asset") as error:
            add_asset_metadata(key, metadata)
        return str(error.value)

    @task
    def plain(key: str) -> str:
        with pytest.raises(ValueError, match="asset") as error:
            Asset(key).add_metadata({})
        return str(error.value)

    @flow
    def pipeline() -> list[str]:
        with pytest.raises(RuntimeError, match="Unable to add Asset metadata"):
            add_asset_metadata(base + "own", {})
        return [
            make(base + "foreign", {}),
            plain(base + "own"),
            make(base + "own", {"a": object}),
            make(base + "own", {"a": "x" * 70_000}),
        ]

    foreign, of_plain, no_json, too_large = pipeline()
    said = "Can only add metadata to assets that are arguments to @materialize"
    assert said in foreign
    assert said in of_plain
    assert "is nothing that JSON has" in no_json
    assert "at most 65536 are recorded" in too_large


def test_a_run_whose_assets_cannot_be_recorded_completes(
    plane: Plane, base: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuses(*_: Any) -> None:
        raise OSError("no")

    monkeypatch.setenv("TASKYARD_TASK_RUNNER", "threads")
    monkeypatch.setattr("taskyard._engine.execution.materializing.note", refuses)

    @materialize(base + "own")
    def make() -> int:
        return 1

    assert flow(lambda: make())() == 1
    assert "could not be recorded" in capsys.readouterr().err


def test_of_very_many_upstream_assets_the_first_are_recorded(plane: Plane, base: str) -> None:
    """Else nothing would be: a document has its limits."""
    needed = [f"{base}{'x' * 400}/{number:04}" for number in range(600)]

    @materialize(f"{base}made", asset_deps=needed)
    def make() -> None: ...

    @flow
    def main() -> None:
        make()

    main()
    latest = _record(f"{base}made").latest
    assert latest is not None
    assert latest.upstream == needed[: len(latest.upstream)]
    assert 100 < len(latest.upstream) < 200
    assert len(latest.upstream) + latest.upstream_left_out == 600


def test_threads_of_a_task_add_to_what_it_has_made(runner: str, plane: Plane, base: str) -> None:
    @materialize(f"{base}made")
    def make() -> None:
        context = serialize_context()

        def add(number: int) -> None:
            with hydrated_context(context):
                add_asset_metadata(f"{base}made", {f"part{number}": number})

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(add, range(8)))

    @flow
    def main() -> None:
        make()

    main()
    latest = _record(f"{base}made").latest
    assert latest is not None
    assert latest.metadata == {f"part{number}": number for number in range(8)}
