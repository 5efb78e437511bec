"""What stands for no call when a body runs again, though it looks alike; and what a plan leaves alone."""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.plane_and_agent import Plane

from taskyard import flow, tags, task, unmapped
from taskyard._network.session.blobs import Blobs
from taskyard._network.session.sessions import current_session
from taskyard.assets import materialize
from taskyard.exceptions import RunNotResumable
from taskyard.flow_runs import plan_resumption, resume_flow
from taskyard.futures import wait
from taskyard.runtime import flow_run
from taskyard.task_runners import ThreadPoolTaskRunner
from taskyard.transactions import transaction

from .test_flow_resume import ended, lines, load, measure, mend, note, picky, said

pytestmark = pytest.mark.usefixtures("plane")
Runner = dict[str, Any]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture(params=["agents", "threads"])
def runner(request: pytest.FixtureRequest) -> Runner:
    """What makes a flow's tasks run there."""
    return {"task_runner": ThreadPoolTaskRunner(max_workers=2)} if request.param == "threads" else {}


@task
def write(log: Path) -> int:
    note(log, "write")
    return 5


@write.on_rollback
def undo(txn: Any) -> None:
    undone.append("write")


undone: list[str] = []


@flow
def writes(log: Path) -> int:
    return write(log)


@pytest.mark.parametrize("how", ["retried", "resumed"])
def test_a_nested_flow_that_a_transaction_has_undone_is_executed_again(
    log: Path, runner: Runner, how: str
) -> None:
    undone.clear()

    @flow(retries=1 if how == "retried" else 0, **runner)
    def in_a_block(log: Path) -> int:
        if flow_run.run_count > 1:
            mend(log)
        with transaction():
            return writes(log) + picky(log, 20)

    if how == "retried":
        assert in_a_block(log) == 26
    else:
        run_id = ended(in_a_block, log)
        assert said(plan_resumption(run_id, flow=in_a_block))[0][:3] == ("writes", 1, "rerun")
        assert resume_flow(run_id, flow=in_a_block) == 26
    assert (undone, lines(log).count("write")) == (["write"], 2)


@pytest.mark.parametrize("what", ["task", "flow"])
def test_what_was_part_of_a_transaction_stands_for_no_call_outside_of_one(log: Path, what: str) -> None:
    called: Callable[[Path], int] = write if what == "task" else writes

    @flow(name="body")
    def inside(log: Path) -> int:
        with transaction():
            return called(log) + picky(log, 20)

    @flow(name="body")
    def outside(log: Path) -> int:
        return called(log) + picky(log, 20)

    run_id = ended(inside, log)
    mend(log)
    [first, *_] = said(plan_resumption(run_id, flow=outside))
    assert first[2] == "rerun"
    assert "transaction" in first[3]
    assert resume_flow(run_id, flow=outside) == 26
    assert lines(log).count("write") == 2


def adding(number: int) -> Any:
    @task
    def add(log: Path, value: int) -> int:
        if number == 1 and not log.with_suffix(".mended").exists():
            raise LookupError("not yet")
        return value + number

    return add


@pytest.mark.parametrize("how", ["retried", "resumed"])
def test_functions_made_by_one_function_do_not_stand_for_each_other(
    log: Path, runner: Runner, how: str
) -> None:
    one, ten = adding(1), adding(10)

    @flow(retries=1 if how == "retried" else 0, **runner)
    def adds(log: Path) -> list[int]:
        if flow_run.run_count > 1:
            mend(log)
        futures = [one.submit(log, 5), ten.submit(log, 5)]
        wait(futures)
        return [each.result() for each in futures]

    if how == "retried":
        assert adds(log) == [6, 15]
    else:
        assert resume_flow(ended(adds, log), flow=adds) == [6, 15]


@dataclass
class Adder:
    number: int

    def __call__(self, value: int) -> int:
        return value + self.number


def test_objects_that_are_called_are_told_apart_by_what_they_hold(log: Path) -> None:
    used = [task(Adder(1), name="adder")]

    @flow
    def adds(log: Path) -> int:
        value: int = used[0](1)
        return value + picky(log, 20)

    run_id = ended(adds, log)
    assert said(plan_resumption(run_id, flow=adds))[0][2] == "reuse"
    used[0] = task(Adder(5), name="adder")
    mend(log)
    assert resume_flow(run_id, flow=adds) == 6 + 21


def test_no_attempt_sees_what_another_one_did_to_a_value(runner: Runner) -> None:
    @task
    def rows() -> list[int]:
        return [1]

    @flow(retries=2, **runner)
    def appends() -> list[int]:
        found = rows()
        found.append(2)
        if flow_run.run_count < 3:
            raise LookupError("not yet")
        return found

    assert appends() == [1, 2]


def test_values_that_only_this_process_has_are_reused_by_its_threads() -> None:
    made: list[Any] = []

    @task
    def lock() -> Any:
        made.append(threading.Lock())
        return made[-1]

    @flow(retries=1, task_runner=ThreadPoolTaskRunner())
    def locks() -> bool:
        found = lock()
        if flow_run.run_count < 2:
            raise LookupError("not yet")
        return found is made[0]

    assert locks()
    assert len(made) == 1


def version_of(kind: Any, text: str) -> Any:
    names: dict[str, Any] = {"__name__": __name__, "note": note, "load": load}
    exec(
        f"def step(log, number):\n    note(log, 'step-{text}')\n    load(log, number)\n    return {text}\n",
        names,
    )
    return kind(names["step"])


@pytest.mark.parametrize("kind", [task, flow])
def test_code_that_was_changed_runs_again_in_nested_flows_too(log: Path, kind: Any) -> None:
    used = [version_of(kind, "1")]

    @flow
    def nested(log: Path) -> int:
        value: int = used[0](log, 3)
        return value + picky(log, 20)

    @flow
    def around(log: Path) -> int:
        return nested(log)

    run_id = ended(around, log)
    used[0] = version_of(kind, "2")
    mend(log)
    assert resume_flow(run_id, flow=around, changed_code="rerun") == 2 + 21
    assert lines(log).count("step-2") == 1


def test_a_nested_flow_without_a_recorded_value_is_taken_up_where_it_ended(log: Path) -> None:
    @flow
    def inside(log: Path) -> Any:
        return load.submit(log, 4)

    @flow
    def around(log: Path) -> int:
        inside(log)
        return picky(log, 20)

    run_id = ended(around, log)
    [planned] = said(plan_resumption(run_id, flow=around))
    assert planned == ("inside", 1, "rerun", "its value is not recorded")
    mend(log)
    assert resume_flow(run_id, flow=around) == 21
    assert lines(log).count("load-4") == 1


def test_of_two_threads_that_resume_a_run_one_wins(log: Path) -> None:
    @flow
    def waiting(log: Path) -> int:
        note(log, "body")
        if log.with_suffix(".mended").exists():
            assert refused.wait(60)
        return picky(log, 20)

    refused = threading.Event()
    run_id = ended(waiting, log)
    mend(log)
    ends: list[Any] = []

    def resume() -> None:
        try:
            ends.append(resume_flow(run_id, flow=waiting))
        except RunNotResumable as error:
            ends.append(str(error))
            refused.set()

    threads = [threading.Thread(target=resume) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(map(str, ends))[0] == "21"
    assert "has not ended" in sorted(map(str, ends))[1]
    assert lines(log).count("body") == 2


def test_a_value_passed_on_together_with_a_wait_for_its_run_is_the_same_call(log: Path) -> None:
    @flow
    def passes(log: Path) -> int:
        first = load.submit(log, 50)
        return load(log, first.result(), wait_for=[first]) + picky(log, 20)

    run_id = ended(passes, log)
    assert [each[2] for each in said(plan_resumption(run_id, flow=passes))] == ["reuse", "reuse", "rerun"]


def test_a_resumed_run_has_the_tags_that_it_had(log: Path) -> None:
    seen: list[list[str]] = []

    @flow
    def tagged(log: Path) -> int:
        seen.append(list(flow_run.tags))
        return picky(log, 20)

    @flow
    async def tagged_too(log: Path) -> int:
        return tagged.fn(log)

    for each in (tagged, tagged_too):
        with tags("red"):
            run_id = ended(each, log)
        value = resume_flow(run_id, flow=each, return_state=True)
        if asyncio.iscoroutine(value):
            asyncio.run(value)
        pages = current_session().client().call_pages(run_id.bytes)
        assert {tuple(made.tags) for page in pages for made in page.templates} == {("red",)}
    assert seen == [["red"]] * 4


def test_a_plan_stores_no_values(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @flow(name="body")
    def small(log: Path) -> int:
        return measure(bytes(200_000)) + picky(log, 20)

    @flow(name="body")
    def large(log: Path) -> int:
        kept = measure(bytes(200_000))
        measure.map([b"x" * 300_000, b"y" * 300_000])
        load.map(unmapped(b"z" * 300_000), range(2))  # type: ignore[arg-type]
        return kept + picky(log, 20)

    run_id = ended(small, log)
    stored: list[Any] = []
    monkeypatch.setattr(Blobs, "put", lambda self, value: stored.append(value))
    plan = said(plan_resumption(run_id, flow=large))
    assert [each[2] for each in plan] == ["reuse", "rerun", "rerun", "rerun"]
    assert stored == []


def test_a_plan_goes_on_after_tasks_that_materialize(log: Path) -> None:
    @materialize("s3://bucket/key")
    def made(log: Path) -> int:
        return picky.fn(log, 20)

    @flow
    def makes(log: Path) -> int:
        first, second = made.submit(log), load.submit(log, 5)
        return first.result() + second.result()

    run_id = ended(makes, log)
    assert [each[0] for each in said(plan_resumption(run_id, flow=makes))] == ["made", "load"]


def test_asynchronous_bodies_are_planned_in_a_loop_and_with_groups_of_tasks(log: Path) -> None:
    @flow
    async def grouped(log: Path) -> int:
        async def one() -> int:
            return picky(log, 20)

        async with asyncio.TaskGroup() as group:
            found = group.create_task(one())
        return found.result()

    run_id = ended(grouped, log)

    async def plan() -> Any:
        return plan_resumption(run_id, flow=grouped)

    assert "asks how a run of 'picky' ended" in asyncio.run(plan()).ends


def test_of_many_calls_that_are_alike_each_is_found_at_once(log: Path) -> None:
    used = [version_of(task, "1")]

    @flow
    def alike(log: Path) -> int:
        wait(used[0].with_options(name="step").map(unmapped(log), [1] * 3_000))
        return picky(log, 20)

    run_id = ended(alike, log)
    used[0] = version_of(task, "2")
    began = time.perf_counter()
    plan = plan_resumption(run_id, flow=alike)
    assert said(plan)[0] == ("step", 3_000, "reuse", "has completed; its code was changed since")
    assert time.perf_counter() - began < 20


def test_a_run_of_before_a_restart_of_the_control_plane_is_resumed(log: Path, plane: Plane) -> None:
    @flow
    def body(log: Path) -> int:
        return load(log, 1) + picky(log, 20)

    run_id = ended(body, log)
    plane.server.kill()
    plane.server = plane.start_server()
    mend(log)
    assert resume_flow(run_id, flow=body) == 31
    assert lines(log).count("load-1") == 1
