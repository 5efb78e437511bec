"""Task runs in transactions, executed by agents and by threads: section B13, and row 28.

Hooks note what they do in a list of this process: where runs are executed elsewhere, that shows where the
hooks are called.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from support.plane_and_agent import Plane

from taskyard import Failed, flow, task
from taskyard._network.server.calls import Client
from taskyard.cache_policies import INPUTS
from taskyard.context import get_run_context
from taskyard.exceptions import CancelledRun, ConfigurationError, NotPicklable
from taskyard.results import ResultStore
from taskyard.task_runners import AgentTaskRunner, ThreadPoolTaskRunner
from taskyard.transactions import BaseTransaction, CommitMode, atransaction, get_transaction, transaction

pytestmark = pytest.mark.usefixtures("plane")

NOTED: list[str] = []
SECONDS = 20.0


@pytest.fixture(autouse=True)
def nothing_noted() -> None:
    NOTED.clear()


@pytest.fixture(params=[AgentTaskRunner(), ThreadPoolTaskRunner()], ids=["agents", "threads"])
def in_flow(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Runs a function as the body of a flow, with either task runner."""

    def run(body: Callable[..., Any], **options: Any) -> Any:
        return flow(task_runner=request.param, **options)(body)()

    return run


@task
def write(path: str, text: str = "text") -> str:
    Path(path).write_text(text)
    return path


@write.on_rollback
def remove(txn: BaseTransaction) -> None:
    record = txn.read()
    NOTED.append(f"remove {Path(record.result).name} in {os.getpid()}")
    os.unlink(record.result)


@write.on_commit
def keep(txn: BaseTransaction) -> None:
    NOTED.append(f"keep {Path(txn.read().result).name} in {os.getpid()}")


@task
def boom() -> None:
    raise ValueError("boom")


@task
def ready() -> None:
    """Be executed: from then on there is a process that executes runs at once."""


def here(*names: str) -> list[str]:
    return [f"{name} in {os.getpid()}" for name in names]


def test_b13_a_failed_task_undoes_the_others_in_reverse(in_flow: Any, tmp_path: Path) -> None:
    def body() -> None:
        with transaction():
            write(str(tmp_path / "a"))
            write.submit(str(tmp_path / "b"))
            write(str(tmp_path / "c"))
            assert (tmp_path / "a").exists()
            boom()

    with pytest.raises(ValueError, match="boom"):
        in_flow(body)
    assert here("remove c", "remove b", "remove a") == NOTED
    assert list(tmp_path.iterdir()) == []


def test_b13_the_end_of_the_block_waits_for_submitted_runs_and_commits(in_flow: Any, tmp_path: Path) -> None:
    def body() -> bool:
        with transaction() as txn:
            write.map([str(tmp_path / name) for name in "abc"])
            write.submit(str(tmp_path / "d"))
            assert NOTED == []
        return txn.is_committed()

    assert in_flow(body)
    assert here("keep a", "keep b", "keep c", "keep d") == NOTED


def test_b13_a_submitted_run_that_failed_rolls_back_though_nobody_asks_for_it(
    in_flow: Any, tmp_path: Path
) -> None:
    def body() -> bool:
        with transaction() as txn:
            write.submit(str(tmp_path / "a"))
            boom.submit()
        return txn.is_rolled_back()

    assert in_flow(body)
    assert here("remove a") == NOTED


def test_b13_a_failure_that_the_flow_handles_rolls_back_at_once(in_flow: Any, tmp_path: Path) -> None:
    def body() -> bool:
        with transaction() as txn:
            write(str(tmp_path / "a"))
            with pytest.raises(ValueError, match="boom"):
                boom()
            assert here("remove a") == NOTED
            write(str(tmp_path / "late"))
            assert NOTED[1:] == here("remove late")
        return txn.is_rolled_back()

    assert in_flow(body)


def test_b13_an_attempt_that_is_repeated_does_not_roll_back(in_flow: Any, tmp_path: Path) -> None:
    """The source rolls the transaction back when the first attempt fails."""

    @task(retries=2)
    def third_time(path: str) -> int:
        with open(path, "a") as file:
            file.write("x")
        if len(Path(path).read_text()) < 3:
            raise ValueError("not yet")
        return 3

    def body() -> bool:
        with transaction() as txn:
            write(str(tmp_path / "a"))
            assert third_time(str(tmp_path / "tries")) == 3
            assert not txn.is_rolled_back()
        return txn.is_committed()

    assert in_flow(body)
    assert here("keep a") == NOTED


def test_b13_the_last_attempt_rolls_back(in_flow: Any, tmp_path: Path) -> None:
    def body() -> None:
        with transaction():
            write(str(tmp_path / "a"))
            boom.with_options(retries=1)()

    with pytest.raises(ValueError, match="boom"):
        in_flow(body)
    assert here("remove a") == NOTED


def test_b13_a_task_that_returns_a_failed_state_rolls_back(in_flow: Any, tmp_path: Path) -> None:
    @task
    def fails_by_hand() -> Any:
        return Failed(message="by hand")

    def body() -> bool:
        with transaction() as txn:
            write(str(tmp_path / "a"))
            assert fails_by_hand(return_state=True).is_failed()
        return txn.is_rolled_back()

    assert in_flow(body)
    assert here("remove a") == NOTED


def test_b13_transactions_nest(in_flow: Any, tmp_path: Path) -> None:
    def body() -> None:
        with transaction():
            with transaction():
                write(str(tmp_path / "lazy"))
            with transaction(commit_mode=CommitMode.EAGER):
                write(str(tmp_path / "eager"))
            assert here("keep eager") == NOTED
            raise KeyError

    with pytest.raises(KeyError):
        in_flow(body)
    assert here("keep eager", "remove lazy") == NOTED


def test_b13_runs_of_a_flow_that_is_called_inside_are_parts_of_it(in_flow: Any, tmp_path: Path) -> None:
    @flow
    def inner() -> None:
        write(str(tmp_path / "a"))

    def body() -> None:
        with transaction():
            inner()
            boom()

    with pytest.raises(ValueError, match="boom"):
        in_flow(body)
    assert here("remove a") == NOTED


def test_b13_the_result_of_a_run_that_was_undone_is_not_cached(in_flow: Any, tmp_path: Path) -> None:
    cached = write.with_options(cache_policy=INPUTS)

    def body() -> list[str]:
        names = []
        for fails in (True, False, True):
            try:
                with transaction():
                    state = cached(str(tmp_path / "a"), return_state=True)
                    names.append(state.name)
                    if fails:
                        boom()
            except ValueError:
                pass
        return names

    assert in_flow(body) == ["Completed", "Completed", "Cached"]
    # The run that found the result did nothing, so there is nothing of it to be undone.
    assert here("remove a", "keep a") == NOTED
    assert (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "options", [{}, {"result_storage_key": "{parameters[text]}"}], ids=["keys", "template"]
)
def test_b13_nor_is_its_record_in_storage_found(in_flow: Any, tmp_path: Path, options: Any) -> None:
    policy = {} if options else {"cache_policy": INPUTS}
    cached = write.with_options(result_storage=tmp_path / "results", **policy, **options)

    def body() -> list[str]:
        names = []
        for fails in (True, False, False):
            try:
                with transaction():
                    names.append(cached(str(tmp_path / "a"), uuid, return_state=True).name)
                    if fails:
                        boom()
            except ValueError:
                pass
        return names

    uuid = str(uuid4())
    assert in_flow(body) == ["Completed", "Completed", "Cached"]


def test_row_21_key_storage_keeps_the_records_of_a_cache_policy(in_flow: Any, tmp_path: Path) -> None:
    cached = write.with_options(cache_policy=INPUTS.configure(key_storage=tmp_path / "records"))

    def body() -> list[str]:
        return [cached(str(tmp_path / "a"), return_state=True).name for _ in range(2)]

    assert in_flow(body) == ["Completed", "Cached"]
    assert len(list((tmp_path / "records").iterdir())) == 1


def test_b13_a_task_outside_of_transactions_commits_where_it_is_executed(
    in_flow: Any, tmp_path: Path
) -> None:
    @task
    def alone(path: str) -> None:
        own = get_transaction()
        assert own is not None
        own.set("path", path)

    @alone.on_commit
    def note(txn: BaseTransaction) -> None:
        Path(txn.get("path")).write_text("committed")

    in_flow(lambda: alone(str(tmp_path / "a")))
    assert (tmp_path / "a").read_text() == "committed"


def test_b13_a_run_whose_own_commit_fails_completes_and_is_named_rolled_back(
    in_flow: Any, tmp_path: Path
) -> None:
    def undo(txn: BaseTransaction) -> None:
        with open(tmp_path / "undone", "a") as file:
            file.write("x")

    def refuse(txn: BaseTransaction) -> None:
        raise ValueError("no")

    @task(cache_policy=INPUTS, on_commit=[refuse], on_rollback=[undo])
    def alone(unique: str) -> int:
        return 7

    def body() -> list[Any]:
        unique = str(uuid4())
        states = [alone(unique, return_state=True) for _ in range(2)]
        return [(state.type.value, state.name, state.result()) for state in states]

    assert in_flow(body) == [("COMPLETED", "RolledBack", 7)] * 2  # it is not cached
    assert (tmp_path / "undone").read_text() == "xx"


def test_b13_a_task_hears_that_values_of_the_transaction_are_elsewhere(in_flow: Any) -> None:
    @task
    def ask() -> list[str]:
        said = []
        own: Any = get_transaction()
        for call in (lambda: own.get("name", 1), lambda: own.set("name", 1)):
            try:
                call()
            except ConfigurationError as error:
                said.append(str(error))
        return said

    def body() -> list[str]:
        with transaction() as txn:
            txn.set("name", "value")
            return ask()

    get, set_ = in_flow(body)
    assert "pass it to the task as an argument" in get
    assert "return it from the task, and set it there" in set_


def test_b13_a_transaction_with_a_key_is_done_once(in_flow: Any, tmp_path: Path) -> None:
    store = ResultStore(result_storage=tmp_path / "results")

    def body() -> str:
        with transaction(key="once", store=store) as txn:
            if txn.is_committed():
                return "before"
            write(str(tmp_path / "a"))
        return "now"

    assert [in_flow(body), in_flow(body)] == ["now", "before"]


def test_row_28_asynchronous_flows(in_flow: Any, tmp_path: Path) -> None:
    @task
    async def awrite(path: str) -> str:
        return write.fn(path)

    @awrite.on_rollback
    async def aremove(txn: BaseTransaction) -> None:
        await asyncio.sleep(0)
        remove(txn)

    async def body() -> None:
        async with atransaction() as txn:
            await asyncio.gather(*(awrite(str(tmp_path / name)) for name in "ab"))
            write.submit(str(tmp_path / "c"))
            with pytest.raises(ValueError, match="boom"):
                boom()
            assert txn.is_rolled_back()

    asyncio.run(in_flow(body))
    assert sorted(NOTED) == here("remove a", "remove b", "remove c")
    assert list(tmp_path.iterdir()) == []


def test_row_28_options_and_decorators_and_with_options_keep_hooks() -> None:
    @task(on_commit=[keep], on_rollback=[remove])
    def one() -> None:
        pass

    one.on_commit(print)
    other = one.with_options(retries=3)
    for made in (one, other):
        assert (made.on_commit_hooks, made.on_rollback_hooks) == ([keep, print], [remove])
    assert other.with_options(on_commit=[]).on_commit_hooks == []


def test_b13_generators_take_part(in_flow: Any, tmp_path: Path) -> None:
    @task(on_rollback=[lambda txn: NOTED.append("undo")])
    def numbers() -> Iterator[int]:
        yield 1
        yield 2

    def body() -> None:
        with transaction():
            values = numbers()
            assert next(values) == 1  # it may never end: the block does not wait for it
            raise KeyError

    with pytest.raises(KeyError):
        in_flow(body)
    assert NOTED == ["undo"]


def test_b13_an_error_waits_for_what_has_begun_and_undoes_it(in_flow: Any, tmp_path: Path) -> None:
    @task(on_rollback=[lambda txn: NOTED.append("undo slow")])
    def slow(begun: str, go_on: str) -> None:
        Path(begun).touch()
        until(Path(go_on))

    @task(on_rollback=[lambda txn: NOTED.append("undo what never began")])
    def after() -> None:
        pass

    def body() -> None:
        with transaction():
            future = slow.submit(str(tmp_path / "begun"), str(tmp_path / "go on"))
            after.submit(wait_for=[future])
            until(tmp_path / "begun")
            threading.Timer(0.2, (tmp_path / "go on").touch).start()
            raise KeyError

    with pytest.raises(KeyError):
        in_flow(body)
    assert NOTED == ["undo slow"]


def test_b13_an_interrupted_program_cancels_what_has_begun_and_undoes_the_rest(
    in_flow: Any, tmp_path: Path
) -> None:
    @task(on_rollback=[lambda txn: NOTED.append("undo endless")])
    def endless(begun: str) -> None:
        Path(begun).touch()
        for _ in range(1000):
            time.sleep(SECONDS / 1000)

    def body() -> None:
        with transaction():
            write(str(tmp_path / "a"))
            endless.submit(str(tmp_path / "begun"))
            until(tmp_path / "begun")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_flow(body)
    assert here("remove a") == NOTED


def test_b13_a_flow_whose_time_is_over_is_undone(in_flow: Any, tmp_path: Path) -> None:
    def body() -> None:
        with transaction():
            write(str(tmp_path / "a"))
            threading.Event().wait(SECONDS)

    in_flow(ready)
    with pytest.raises(TimeoutError):
        in_flow(body, timeout_seconds=2)
    assert here("remove a") == NOTED


def test_b13_a_flow_whose_time_is_over_while_it_waits_for_the_end_is_undone(
    in_flow: Any, tmp_path: Path
) -> None:
    @task(on_rollback=[lambda txn: NOTED.append("undo slow")])
    def slow(begun: str, go_on: str) -> None:
        Path(begun).touch()
        until(Path(go_on))

    def body() -> None:
        with transaction():
            write(str(tmp_path / "a"))
            slow.submit(str(tmp_path / "begun"), str(tmp_path / "go on"))
            until(tmp_path / "begun")
            threading.Timer(3, (tmp_path / "go on").touch).start()

    in_flow(ready)
    with pytest.raises(TimeoutError):
        in_flow(body, timeout_seconds=2)
    assert ["undo slow", *here("remove a")] == NOTED


def test_b13_a_flow_that_is_cancelled_is_undone(in_flow: Any, tmp_path: Path, plane: Plane) -> None:
    def body() -> None:
        with transaction():
            write(str(tmp_path / "a"))
            with Client(plane.address) as client:
                client.cancel_run(get_run_context().run.raw_id)
            for _ in range(1000):
                time.sleep(SECONDS / 1000)  # until it is cancelled

    with pytest.raises(CancelledRun):
        in_flow(body)
    assert here("remove a") == NOTED


def test_b13_a_transaction_in_a_task_ends_where_the_task_is_executed(in_flow: Any, tmp_path: Path) -> None:
    def note(txn: BaseTransaction) -> None:
        Path(txn.read().result).write_text(f"undone with {txn.get('name')}")

    inner = write.with_options(on_rollback=[note], on_commit=[])

    @task
    def outer(path: str) -> None:
        with transaction() as txn:
            txn.set("name", "value")
            inner(path)
            raise KeyError

    def body() -> bool:
        with transaction(), pytest.raises(KeyError):
            outer(str(tmp_path / "a"))
        return (tmp_path / "a").read_text() == "undone with value"

    assert in_flow(body)


@pytest.mark.parametrize("runner", ["agents", "threads"])
def test_b13_calls_outside_of_flows_take_part(
    runner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKYARD_TASK_RUNNER", runner)

    def body() -> None:
        with transaction():
            write(str(tmp_path / "a"))
            boom()

    with pytest.raises(ValueError, match="boom"):
        body()
    assert here("remove a") == NOTED


def test_b13_a_transaction_does_not_travel(plane: Plane) -> None:
    @task
    def take(txn: Any) -> None: ...

    @flow(task_runner=AgentTaskRunner())
    def main() -> None:
        with transaction() as txn:
            take(txn)

    with pytest.raises(NotPicklable, match="cannot be passed to a task"):
        main()


def until(path: Path) -> None:
    """Wait for a file."""
    deadline = time.monotonic() + SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, f"nobody has made {path}"
        time.sleep(0.01)
