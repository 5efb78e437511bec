"""Results in storage of the user's, with a real control plane, remote workers and threads."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.plane_and_agent import Plane

from taskyard import flow, task
from taskyard.cache_policies import INPUTS
from taskyard.exceptions import DamagedResult, MissingResult, NotSerializable, ResultStorageError
from taskyard.flow_runs import read_flow_run
from taskyard.results import ResultStore
from taskyard.serializers import Serializer
from taskyard.states import State
from taskyard.task_runners import ThreadPoolTaskRunner
from taskyard.task_runs import read_task_run

Run = Callable[..., Any]


class Block:
    """An object of the user's that keeps files in a folder, and says so."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read_path(self, path: str) -> bytes:
        return (self.folder / f"block-{path}").read_bytes()

    def write_path(self, path: str, content: bytes) -> None:
        (self.folder / f"block-{path}").write_bytes(content)


class Shouting(Serializer):
    type: str = "tests/integration/shouting"
    end: str = "!"

    def dumps(self, obj: Any) -> bytes:
        return (str(obj).upper() + self.end).encode()

    def loads(self, blob: bytes) -> Any:
        return blob.decode()


@task
def pair(folder: Path, name: str = "x") -> Any:
    """Note that it was called, and return what JSON changes."""
    with open(folder / f"calls-{name}", "a") as calls:
        calls.write("x")
    return (1, name)


@task
async def pair_async(folder: Path) -> Any:
    return (1, "async")


@task
def given(value: Any) -> Any:
    return value


@task(result_serializer="json")
def not_json() -> Any:
    return object()


@task
def named(folder: Path) -> str:
    return "value"


def calls(folder: Path, name: str = "x") -> int:
    path = folder / f"calls-{name}"
    return len(path.read_text()) if path.exists() else 0


def records(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("calls-"))


@pytest.fixture(params=["agents", "threads"])
def run(request: pytest.FixtureRequest, plane: Plane) -> Run:
    """Run a function as the body of a flow."""
    options: dict[str, Any] = {}
    if request.param == "threads":
        options["task_runner"] = ThreadPoolTaskRunner(max_workers=4)

    def runs(body: Callable[[], Any], **more: Any) -> Any:
        return flow(**options, **more)(body)()

    return runs


def test_row_23_a_result_goes_into_storage_before_its_run_completes(run: Run, tmp_path: Path) -> None:
    stored = pair.with_options(result_storage=tmp_path, result_storage_key="{parameters[name]}.pickle")

    def body() -> None:
        future = stored.submit(tmp_path, "a")
        future.wait()
        assert records(tmp_path) == ["a.pickle"]
        assert future.result() == (1, "a")
        assert given(future) == (1, "a")

    run(body)
    record = ResultStore(result_storage=tmp_path).read("a.pickle")
    assert record.result == (1, "a")
    assert record.metadata.storage_key == "a.pickle"


def test_row_25_readers_get_what_json_reads_back(run: Run, tmp_path: Path) -> None:
    written = pair.with_options(result_storage=tmp_path, result_serializer="json")

    def body() -> Any:
        future = written.submit(tmp_path)
        state = written(tmp_path, "b", return_state=True)
        values = [future.result(), given(future), written(tmp_path, "c"), state.result()]
        return [*values, read_task_run(future.task_run_id).state.result()]

    assert run(body) == [[1, "x"], [1, "x"], [1, "c"], [1, "b"], [1, "x"]]


def test_row_25_without_storage_the_control_plane_keeps_what_was_written(run: Run, tmp_path: Path) -> None:
    def body() -> Any:
        loud = given.with_options(result_serializer=Shouting(end="?"))
        small = pair.with_options(result_serializer="compressed/json")
        return loud.submit("abc").result(), given(small.submit(tmp_path))

    assert run(body) == ("ABC?", [1, "x"])
    assert records(tmp_path) == []


def test_row_25_a_large_value_may_be_written_by_a_serializer_too(run: Run) -> None:
    assert run(lambda: len(given.with_options(result_serializer="json")("x" * 300_000))) == 300_000


def test_row_23_an_object_with_paths_is_a_storage(run: Run, tmp_path: Path) -> None:
    written = pair.with_options(result_storage=Block(tmp_path), result_storage_key="a")
    assert run(lambda: written.submit(tmp_path).result()) == (1, "x")
    assert records(tmp_path) == ["block-a"]


def test_row_23_coroutines_store_their_results(run: Run, tmp_path: Path) -> None:
    written = pair_async.with_options(result_storage=tmp_path, result_serializer="json")

    async def read() -> Any:
        future = written.submit(tmp_path)
        return await future.aresult(), await written(tmp_path)

    assert run(lambda: asyncio.run(_in_flow(read))) == ([1, "async"], [1, "async"])


async def _in_flow(read: Callable[[], Any]) -> Any:
    return await read()


def test_row_24_keys_are_made_of_parameters_and_of_the_run(run: Run, tmp_path: Path) -> None:
    template = "{flow_run.name}/{task_run.task_name}-{parameters[value]}"

    def body() -> None:
        given.with_options(result_storage=tmp_path, result_storage_key=template).map(range(3)).wait()

    run(body, flow_run_name="nightly")
    assert records(tmp_path / "nightly") == ["given-0", "given-1", "given-2"]


def test_row_24_a_template_that_cannot_be_filled_fails_the_run(run: Run, tmp_path: Path) -> None:
    wrong = pair.with_options(result_storage=tmp_path, result_storage_key="{parameters[nothing]}")
    with pytest.raises(ValueError, match=r"'\{parameters\[nothing\]\}' of 'pair' cannot be filled"):
        run(lambda: wrong(tmp_path))
    assert calls(tmp_path) == 0


def test_b5_the_record_at_a_key_is_the_cache(run: Run, tmp_path: Path) -> None:
    cached = pair.with_options(result_storage=tmp_path, result_storage_key="{parameters[name]}")

    def twice() -> str:
        first, second = cached(tmp_path, return_state=True), cached(tmp_path, return_state=True)
        assert first.result() == second.result() == (1, "x")
        return f"{first.name} {second.name} {calls(tmp_path)}"

    assert run(twice) == "Completed Cached 1"
    assert run(twice) == "Cached Cached 1"
    (tmp_path / "x").unlink()
    assert run(twice) == "Completed Cached 2", "a hit needs its record"
    (tmp_path / "x").write_bytes(b"damaged")
    assert run(twice) == "Completed Cached 3", "and one that is whole"


def test_b5_a_cache_key_names_its_record_and_is_verified(run: Run, tmp_path: Path) -> None:
    cached = pair.with_options(result_storage=tmp_path, cache_policy=INPUTS)

    def once() -> str:
        upstream = given.submit("x")
        return cached.submit(tmp_path, upstream).wait().name  # type: ignore[union-attr]

    assert [run(once), run(once)] == ["Completed", "Cached"]
    (key,) = records(tmp_path)
    (tmp_path / key).unlink()
    assert [run(once), run(once)] == ["Completed", "Cached"]
    assert records(tmp_path) == [key]
    assert calls(tmp_path) == 2


def test_b5_9_an_expired_record_is_a_miss(run: Run, tmp_path: Path) -> None:
    gone = pair.with_options(
        result_storage=tmp_path, result_storage_key="k", cache_expiration=timedelta(microseconds=1)
    )
    kept = gone.with_options(cache_expiration=timedelta(hours=1))
    for one in (gone, gone, kept, kept):  # the control plane itself lets a result live for a millisecond
        assert run(lambda one=one: one(tmp_path)) == (1, "x")
    assert calls(tmp_path) == 3


def test_b5_9_refreshing_overwrites_the_record(run: Run, tmp_path: Path) -> None:
    cached = pair.with_options(result_storage=tmp_path, result_storage_key="k")
    fresh = cached.with_options(refresh_cache=True)
    run(lambda: [fresh(tmp_path), fresh(tmp_path), cached(tmp_path)])
    assert calls(tmp_path) == 2


def test_b5_equal_runs_at_once_are_one(run: Run, tmp_path: Path) -> None:
    cached = pair.with_options(result_storage=tmp_path, result_storage_key="k")

    def body() -> Any:
        return [future.result() for future in [cached.submit(tmp_path) for _ in range(20)]]

    assert run(body) == [(1, "x")] * 20
    assert calls(tmp_path) == 1


def test_b5_7_a_hit_calls_hooks_of_completion(plane: Plane, tmp_path: Path) -> None:
    seen: list[Any] = []

    def hook(task: Any, run: Any, state: State[Any]) -> None:
        seen.append((state.name, state.result()))

    cached = pair.with_options(result_storage=tmp_path, result_storage_key="k", on_completion=[hook])

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
    def main() -> None:
        cached(tmp_path)
        cached(tmp_path)

    main()
    assert seen == [("Completed", (1, "x")), ("Cached", (1, "x"))]


def test_row_22_without_persisting_nothing_is_stored_or_cached(run: Run, tmp_path: Path) -> None:
    off = pair.with_options(result_storage=tmp_path, result_storage_key="k", persist_result=False)
    assert run(lambda: [off(tmp_path), off.submit(tmp_path).result()]) == [(1, "x")] * 2
    assert records(tmp_path) == []
    assert calls(tmp_path) == 2


def test_row_26_a_value_that_is_not_kept_is_read_each_time(run: Run, tmp_path: Path) -> None:
    stored = pair.with_options(result_storage=tmp_path, result_storage_key="k")
    kept, read = stored, stored.with_options(cache_result_in_memory=False)
    plain = given.with_options(cache_result_in_memory=False)

    def body() -> None:
        one, two, three = kept.submit(tmp_path), read.submit(tmp_path), plain.submit([1])
        state = two.wait()
        assert state is not None
        assert one.result() is one.result()
        assert two.result() is not two.result()
        assert state.result() is not state.result()
        assert three.result() == [1]
        assert three.result() is not three.result()
        (tmp_path / "k").unlink()
        assert one.result() == (1, "x")
        for gone in (two.result, state.result):
            with pytest.raises(MissingResult, match=str(tmp_path / "k")):
                gone()

    run(body)


def test_c19_a_record_that_is_gone_fails_whoever_needs_it_and_says_where(run: Run, tmp_path: Path) -> None:
    stored = pair.with_options(result_storage=tmp_path, result_storage_key="k")

    def body() -> None:
        future = stored.submit(tmp_path)
        state = future.wait()
        assert state is not None
        assert state.is_completed()
        (tmp_path / "k").unlink()
        with pytest.raises(MissingResult, match=f"there is no result at {tmp_path}/k"):
            future.result()
        with pytest.raises(Exception, match=f"there is no result at {tmp_path}/k"):
            given(future)
        (tmp_path / "k").write_bytes(b"damaged\n")
        with pytest.raises(DamagedResult, match=f"the result at {tmp_path}/k cannot be read"):
            future.result()

    run(body)


def test_b12_a_value_that_the_serializer_refuses_fails_the_run_for_good(run: Run) -> None:
    with pytest.raises(NotSerializable, match="'not_json' returned a object that the serializer 'json'"):
        run(not_json.with_options(retries=3, retry_delay_seconds=3600))


def test_c19_storage_that_cannot_be_used_fails_the_attempt_and_is_tried_again(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    wrong = pair.with_options(result_storage=tmp_path / "file", cache_policy=None, retries=1)
    with pytest.raises(ResultStorageError, match=f"could not be written at {tmp_path}/file/"):
        run(lambda: wrong(tmp_path))
    assert calls(tmp_path) == 1 or calls(tmp_path) == 2


def test_b12_tasks_inherit_from_their_flow(run: Run, tmp_path: Path) -> None:
    def body() -> Any:
        own = pair.with_options(result_serializer="pickle", result_storage_key="own")
        return given((1, 2)), own(tmp_path), given.with_options(persist_result=False)((1, 2))

    inherited = {"result_storage": tmp_path, "result_serializer": "json"}
    assert run(body, **inherited, flow_run_name="f") == [[1, 2], [1, "x"], [1, 2]]
    assert len(records(tmp_path)) == 3, "one task says no, and the flow itself has a record"


def test_b12_settings_come_last(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKYARD_RESULTS_DEFAULT_STORAGE", str(tmp_path))
    monkeypatch.setenv("TASKYARD_RESULTS_DEFAULT_SERIALIZER", "json")
    run(lambda: given((1, 2)))
    assert records(tmp_path) == []
    monkeypatch.setenv("TASKYARD_TASKS_DEFAULT_PERSIST_RESULT", "on")
    assert run(lambda: given((1, 2))) == [1, 2]
    assert len(records(tmp_path)) == 1


def test_b11_4_a_repeated_body_finds_what_its_tasks_had_stored(run: Run, tmp_path: Path) -> None:
    attempts = threading.Semaphore(1)

    def body() -> Any:
        value = pair(tmp_path)
        if attempts.acquire(blocking=False):
            raise ValueError("the first time")
        return value

    assert run(body, result_storage=tmp_path, retries=1) == (1, "x")
    assert calls(tmp_path) == 1


def test_row_23_the_value_of_a_flow_goes_into_storage(run: Run, tmp_path: Path) -> None:
    ids: list[Any] = []

    def body() -> Any:
        from taskyard.runtime import flow_run

        ids.append(flow_run.id)
        return (1, 2)

    options = {"result_storage": tmp_path, "result_storage_key": "{flow_run.name}"}
    assert run(body, flow_run_name="a", **options) == (1, 2)
    assert run(body, flow_run_name="b", result_serializer="json", **options) == [1, 2]
    assert records(tmp_path) == ["a", "b"]
    assert read_flow_run(ids[1]).state.result() == [1, 2]
    (tmp_path / "b").unlink()
    with pytest.raises(MissingResult, match=f"{tmp_path}/b"):
        read_flow_run(ids[1]).state.result()


def test_c18_a_worker_that_dies_between_writing_and_reporting_costs_nothing(
    plane: Plane, tmp_path: Path
) -> None:
    stored = pair.with_options(
        result_storage=tmp_path, result_storage_key="k", on_completion=[die_once], tags=[str(tmp_path)]
    )

    @flow
    def main() -> Any:
        state = stored(tmp_path, return_state=True)
        return state.name, state.result()

    assert main() == ("Cached", (1, "x"))
    assert calls(tmp_path) == 1
    assert calls(tmp_path, "died") == 1


def die_once(task: Any, run: Any, state: Any) -> None:
    """End the worker after the result was written, the first time."""
    (folder,) = run.tags
    path = Path(folder, "calls-died")
    if not path.exists():
        path.write_text("x")
        os._exit(1)


PROGRAM = """
import asyncio, pathlib, sys
from taskyard import flow, task
from taskyard.serializers import Serializer

class Loud(Serializer):
    type: str = "loud"
    end: str = "!"
    def dumps(self, obj): return (obj.upper() + self.end).encode()
    def loads(self, blob): return blob.decode()

class Folder:
    def __init__(self, path): self.path = pathlib.Path(path)
    async def read_path(self, path): return (self.path / path).read_bytes()
    async def write_path(self, path, content): (self.path / path).write_bytes(content)

@task(result_storage=Folder(sys.argv[1]), result_serializer=Loud(end="?"), result_storage_key="k")
def say(word): return word

@task
def again(word): return word

@flow(result_storage=sys.argv[1], result_serializer="json", result_storage_key="flow")
async def main():
    print(again(say.submit("hi")), await say.submit("hi"), say("hi", return_state=True).name)
    return (1,)

if __name__ == "__main__":
    print(asyncio.run(main()))
"""


@pytest.mark.parametrize("runner", ["agents", "threads"])
def test_row_25_serializers_and_storages_of_the_main_program_are_known_to_workers(
    plane: Plane, tmp_path: Path, runner: str
) -> None:
    (tmp_path / "main.py").write_text(PROGRAM)
    ended = subprocess.run(
        [sys.executable, str(tmp_path / "main.py"), str(tmp_path)],
        env={**os.environ, "TASKYARD_TASK_RUNNER": runner},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split("\n")[:2] == ["HI? HI? Cached", "[1]"]
