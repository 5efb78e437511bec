"""What a worker does with one attempt: sections B3 to B7 and B16."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from taskyard._engine.execution.task_body import TaskBody
from taskyard._engine.submission.templates import plain_template
from taskyard.context import get_run_context
from taskyard.logging import get_run_logger
from taskyard.states import Cancelled, Completed, Failed
from taskyard.tasks import Task, task
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract import pickling, references
from taskyard_contract.execution import Invocation
from taskyard_contract.id_factory import new_id
from taskyard_contract.log_entry import LogEntry
from taskyard_contract.states import ReportKind, StateReason


class Host:
    def __init__(self) -> None:
        self.logs: list[tuple[int, str]] = []

    def log(self, entry: LogEntry) -> None:
        _, _, level, _, message, _ = entry
        self.logs.append((level, message))

    def blocked(self) -> AbstractContextManager[None]:
        return nullcontext()


def execute(
    of: Task[..., Any], *args: Any, host: Host | None = None, log_prints: bool = False, **fields: Any
) -> Any:
    """Execute one attempt; returns the value, or the report."""
    data = pickling.dumps((args, {})) if args else b""
    invocation = Invocation(new_id(), 1, plain_template(of, frozenset()), data, **fields)
    report = TaskBody(of, log_prints).execute(invocation, host or Host())
    return pickling.loads(report) if isinstance(report, bytes) else report


@task
def add(a: int, b: int = 10) -> int:
    return a + b


@task
def fail(text: str) -> None:
    raise ValueError(text)


def test_a_value_is_returned_encoded() -> None:
    assert execute(add, 1, 2) == 3
    assert execute(add, 1) == 11


def test_references_are_resolved_at_any_depth() -> None:
    upstream = new_id()

    class Reference:
        def __reduce__(self) -> Any:
            return references.resolve, (upstream,)

    data = pickling.dumps_by_value((([Reference()],), {}))
    invocation = Invocation(new_id(), 1, plain_template(add, frozenset()), data, inputs={upstream: [4]})
    body = TaskBody(task(lambda values: values[0][0]), False)
    assert pickling.loads(body.execute(invocation, Host())) == 4  # type: ignore[arg-type]


def test_arguments_that_cannot_be_loaded_are_reported() -> None:
    invocation = Invocation(new_id(), 1, plain_template(add, frozenset()), b"\x80\x05damaged")
    report = TaskBody(add, False).execute(invocation, Host())
    assert isinstance(report, pb.ReportException)
    assert (report.kind, report.reason) == (ReportKind.FAILED, StateReason.CODE_UNAVAILABLE)
    assert report.not_retriable


class Exits:
    """Calls exit, or fails without a word, when it is pickled."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        raise self.error


class Wordless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, Wordless])
def test_a_value_whose_pickling_exits_or_fails_without_words_is_refused(error: type[BaseException]) -> None:
    report = execute(task(lambda: Exits(error)))
    assert (report.kind, report.reason) == (ReportKind.FAILED, StateReason.RESULT_REFUSED)
    assert "a value of type Exits that cannot be pickled" in report.message


def test_b3_an_exception_fails_the_run() -> None:
    report = execute(fail, "bad")
    assert report.kind == ReportKind.FAILED
    assert report.message == "Task run encountered an exception ValueError: bad"
    assert report.failure.type == "ValueError"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_b3_interrupts_crash_the_run(error: type[BaseException]) -> None:
    def interrupted() -> None:
        raise error

    report = execute(task(interrupted))
    assert (report.kind, report.reason) == (ReportKind.INTERRUPTED, StateReason.INTERRUPTED)


def test_b16_coroutines_run_in_one_loop() -> None:
    import asyncio

    async def loop_id() -> int:
        await asyncio.sleep(0)
        return id(asyncio.get_running_loop())

    of = task(loop_id)
    assert execute(of) == execute(of)


def test_b16_submitted_generators_become_lists() -> None:
    def numbers() -> Iterator[int]:
        yield from range(3)

    async def later() -> AsyncIterator[int]:
        yield 1
        yield 2

    assert execute(task(numbers)) == [0, 1, 2]
    assert execute(task(later)) == [1, 2]


def test_the_function_sees_its_run() -> None:
    def look() -> tuple[str, int]:
        context = get_run_context()
        return context.run.name, context.run.run_count

    assert execute(task(look), ordinal=4, attempt=2) == ("look-4", 2)


def test_log_records_and_prints_go_to_the_host() -> None:
    def talk() -> None:
        get_run_logger().warning("logged")
        print("printed")

    host = Host()
    execute(task(talk), host=host, log_prints=True)
    assert host.logs == [(logging.WARNING, "logged"), (logging.INFO, "printed")]


def test_the_tasks_own_log_prints_wins(capsys: pytest.CaptureFixture[str]) -> None:
    host = Host()
    execute(task(log_prints=False)(lambda: print("shown")), host=host, log_prints=True)
    assert host.logs == []


def test_a_run_name_is_rendered_from_values() -> None:
    report = execute(add.with_options(task_run_name="sum-{a}-{b}"), 1)
    assert report.kind == ReportKind.SUCCEEDED
    assert report.run_name == "sum-1-10"
    assert pickling.loads(report.result.data) == 11


def test_a_run_name_that_fails_is_the_runs_failure() -> None:
    report = execute(add.with_options(task_run_name="{missing}"), 1)
    assert (report.kind, report.failure.type) == (
        ReportKind.FAILED,
        "taskyard.exceptions.ConfigurationError",
    )
    assert "'{missing}' of task 'add' cannot be filled" in report.message


def test_a_cache_key_is_proposed_unless_decided() -> None:
    calls: list[int] = []
    of = task(cache_key_fn=lambda context, parameters: f"key-{parameters['n']}")(lambda n: calls.append(n))
    report = execute(of, 5)
    assert (report.kind, report.cache_key) == (ReportKind.CACHE_KEY, "key-5")
    assert calls == []
    execute(of, 5, cache_key_decided=True)
    assert calls == [5]


def test_b5_7_a_key_that_cannot_be_computed_means_no_caching() -> None:
    def broken(context: Any, parameters: Any) -> str:
        raise RuntimeError("no key")

    assert execute(add.with_options(cache_key_fn=broken), 1) == 11


def test_b4_2_the_condition_is_asked_only_while_retries_remain() -> None:
    asked: list[str] = []

    def condition(of: Any, run: Any, state: Any) -> bool:
        asked.append(state.message)
        return False

    of = fail.with_options(retries=1, retry_condition_fn=condition)
    assert execute(of, "1").not_retriable
    assert len(asked) == 1
    assert not execute(of, "2", attempt=2).not_retriable
    assert len(asked) == 1


def test_b4_2_async_conditions_and_partials_are_called() -> None:
    class Condition:
        async def __call__(self, of: Any, run: Any, state: Any) -> bool:
            return bool(state.is_failed())

    assert not execute(fail.with_options(retries=1, retry_condition_fn=Condition()), "x").not_retriable


def test_a_condition_that_raises_forbids_the_retry() -> None:
    def condition(*_: Any) -> bool:
        raise RuntimeError("condition")

    assert execute(fail.with_options(retries=1, retry_condition_fn=condition), "x").not_retriable


def test_b6_hooks_run_once_after_the_final_state() -> None:
    seen: list[tuple[str, str]] = []

    def hook(of: Any, run: Any, state: Any) -> None:
        seen.append((run.name, state.name))

    async def async_hook(of: Any, run: Any, state: Any) -> None:
        seen.append(("async", state.name))

    hooked = {"on_completion": [hook, async_hook], "on_failure": [hook], "on_running": [hook]}
    execute(add.with_options(**hooked), 1)  # type: ignore[misc]
    assert seen == [("add-0", "Running"), ("add-0", "Completed"), ("async", "Completed")]
    seen.clear()
    execute(fail.with_options(retries=1, **hooked), "x")  # type: ignore[misc]
    assert seen == [("fail-0", "Running")], "a retry is left, so the state is not final"
    execute(fail.with_options(retries=1, **hooked), "x", attempt=2)  # type: ignore[misc]
    assert seen[1:] == [("fail-0", "Retrying"), ("fail-0", "Failed")]


def test_b6_a_raising_hook_changes_nothing() -> None:
    def hook(*_: Any) -> None:
        raise RuntimeError("hook")

    assert execute(add.with_options(on_completion=[hook]), 1) == 11


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (Completed(data=3, message="done"), ReportKind.SUCCEEDED),
        (Failed(message="by hand"), ReportKind.FAILED),
        (Cancelled(), ReportKind.CANCELLED),
    ],
)
def test_row_66_states_returned_by_hand(state: Any, kind: ReportKind) -> None:
    report = execute(task(lambda: state))
    assert (report.kind, report.reason) == (kind, StateReason.STATE_BY_HAND)
    assert report.message == (state.message or "")


def test_a_result_that_cannot_be_pickled_is_refused() -> None:
    import threading

    report = execute(task(lambda: threading.Lock()))
    assert (report.kind, report.reason) == (ReportKind.FAILED, StateReason.RESULT_REFUSED)
    assert "cannot be pickled" in report.message
    assert report.not_retriable


def heard_by(of: Task[..., Any]) -> list[tuple[str, str]]:
    """Let hooks of a task note what they hear."""
    heard: list[tuple[str, str]] = []
    of.on_failure(lambda task, run, state: heard.append((state.name, type(state.data).__name__)))
    of.on_completion(lambda task, run, state: heard.append((state.name, "")))
    return heard


def test_b6_hooks_hear_of_a_result_that_cannot_be_pickled() -> None:
    import threading

    of = task(retries=3)(lambda: {"lock": [threading.Lock()]})
    heard = heard_by(of)
    report = execute(of)
    assert heard == [("Failed", "NotPicklable")]
    assert "result['lock'][0] is of type lock" in report.message
    assert report.not_retriable


def test_b6_hooks_hear_of_arguments_that_cannot_be_loaded() -> None:
    of = task(lambda x: x)
    heard = heard_by(of)
    invocation = Invocation(new_id(), 1, plain_template(of, frozenset()), b"\x80\x05damaged")
    TaskBody(of, False).execute(invocation, Host())
    assert heard == [("Failed", "UnpicklingError")]


@pytest.mark.parametrize(("attempt", "heard_of"), [(1, []), (2, [("Failed", "PayloadTooLarge")])])
def test_b6_hooks_hear_of_a_result_that_is_too_large_after_the_last_attempt(
    attempt: int, heard_of: list[tuple[str, str]]
) -> None:
    of = task(retries=1)(lambda: bytes(2_000))
    heard, host = heard_by(of), Host()
    host.max_result_bytes = 1_000  # type: ignore[attr-defined]
    report = execute(of, host=host, attempt=attempt)
    assert report.reason == StateReason.RESULT_REFUSED
    assert "the server's limit is 1,000" in report.message
    assert heard == heard_of


def test_b6_hooks_hear_of_an_ordinary_result() -> None:
    of = task(lambda: 1)
    heard = heard_by(of)
    assert execute(of) == 1
    assert heard == [("Completed", "")]


def test_row_69_a_worker_says_nothing_of_a_run_that_failed_and_completion_only_if_that_is_wanted() -> None:
    host = Host()
    execute(fail, "bad", host=host)
    assert host.logs == [], "the control plane says it"
    body = TaskBody.arrived(add, False)
    invocation = Invocation(new_id(), 1, plain_template(add, frozenset()), pickling.dumps(((1,), {})))
    body.execute(invocation, host)
    assert host.logs == []
    logging.getLogger("taskyard").setLevel(logging.DEBUG)
    body.execute(invocation, host)
    assert host.logs == [(logging.DEBUG, "Finished in state Completed()")], "the level counts at each run"
    logging.getLogger("taskyard").setLevel(logging.INFO)
    body.execute(invocation, host)
    assert len(host.logs) == 1


class LaneHost(Host):
    """A host of coroutines that share a loop."""

    expired = ""
    cancelled = False


def execute_async(of: Task[..., Any], *args: Any, host: LaneHost | None = None, **fields: Any) -> Any:
    """Execute one attempt in a loop; returns the value, or the report."""
    data = pickling.dumps((args, {})) if args else b""
    invocation = Invocation(new_id(), 1, plain_template(of, frozenset()), data, **fields)
    report = asyncio.run(TaskBody(of, False).execute_async(invocation, host or LaneHost()))
    return pickling.loads(report) if isinstance(report, bytes) else report


def test_only_templates_of_coroutine_functions_say_so() -> None:
    @task
    async def coroutine() -> None: ...

    assert plain_template(coroutine, frozenset()).coroutine
    assert not plain_template(add, frozenset()).coroutine


def test_b16_a_coroutine_is_executed_in_the_loop_that_is_running() -> None:
    @task
    async def where(x: int) -> tuple[int, str]:
        await asyncio.sleep(0)
        return x, get_run_context().run.name

    assert execute_async(where, 4) == (4, "where-0")

    @task
    async def values(count: int) -> AsyncIterator[int]:
        for number in range(count):
            yield number

    assert execute_async(values, 3) == [0, 1, 2]
    assert execute_async(add, 1, 2) == 3, "whatever its template says"


def test_b3_what_a_coroutine_raises_in_a_shared_loop_is_reported() -> None:
    @task
    async def fails(error: type[BaseException]) -> None:
        raise error("mine")

    host = LaneHost()
    report = execute_async(fails, ValueError, host=host)
    assert (report.kind, report.failure.message) == (ReportKind.FAILED, "mine")
    assert host.logs == [], "the control plane says it"
    assert execute_async(fails, SystemExit).kind == ReportKind.INTERRUPTED
    assert execute_async(fails, asyncio.CancelledError).kind == ReportKind.INTERRUPTED
    invocation = Invocation(new_id(), 1, plain_template(fails, frozenset()), b"\x80\x05damaged")
    unread = asyncio.run(TaskBody(fails, False).execute_async(invocation, LaneHost()))
    assert isinstance(unread, pb.ReportException)
    assert unread.reason == StateReason.CODE_UNAVAILABLE


@pytest.mark.parametrize("swallows", [False, True])
def test_a_coroutine_whose_time_is_up_timed_out_whatever_it_makes_of_that(swallows: bool) -> None:
    host = LaneHost()
    seen: list[str] = []

    @task(on_failure=[lambda task, run, state: seen.append(state.name)], timeout_seconds=5)
    async def slow() -> str:
        host.expired = "too slow"
        if not swallows:
            raise asyncio.CancelledError
        return "done all the same"

    report = execute_async(slow, host=host)
    assert (report.kind, report.reason, report.message) == (
        ReportKind.FAILED,
        StateReason.TIMED_OUT,
        "too slow",
    )
    assert seen == ["TimedOut"]
    assert report.failure.type.endswith("TaskRunTimeoutError")


def test_a_cancelled_coroutine_is_left_to_its_lane() -> None:
    host = LaneHost()
    hooks: list[str] = []

    @task(on_failure=[lambda task, run, state: hooks.append(state.name)])
    async def stopped() -> None:
        host.cancelled = True
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        execute_async(stopped, host=host)
    assert (hooks, host.logs) == ([], [])


def test_b6_hooks_and_conditions_do_not_keep_a_shared_loop() -> None:
    threads: list[tuple[str, bool]] = []
    loops: list[object] = []

    def note(name: str) -> None:
        threads.append((name, threading.current_thread() is threading.main_thread()))

    async def on_completion(task: Any, run: Any, state: Any) -> None:
        await asyncio.sleep(0)
        loops.append(asyncio.get_running_loop())
        assert get_run_context().run.name == run.name == "named"

    def name_of() -> str:
        note("name")
        return "named"

    def on_running(task: Any, run: Any, state: Any) -> None:
        note("running")

    @task(task_run_name=name_of, on_running=[on_running], on_completion=[on_completion])
    async def hooked(x: int) -> int:
        loops.append(asyncio.get_running_loop())
        return x

    report = execute_async(hooked, 3)
    assert (report.run_name, pickling.loads(report.result.data)) == ("named", 3)
    assert threads == [("name", False), ("running", False)]
    assert loops[0] is loops[1], "connections and locks belong to that loop"

    def may_retry(task: Any, run: Any, state: Any) -> bool:
        note("condition")
        return False

    @task(retries=2, retry_condition_fn=may_retry)
    async def fails() -> None:
        raise ValueError

    assert execute_async(fails).not_retriable
    assert threads[-1] == ("condition", False)


def test_b5_a_cache_key_is_proposed_from_a_shared_loop_unless_decided() -> None:
    called: list[int] = []

    @task(cache_key_fn=lambda context, parameters: f"key-{parameters['x']}")
    async def cached(x: int) -> int:
        called.append(x)
        return x

    report = execute_async(cached, 5)
    assert (report.kind, report.cache_key, called) == (ReportKind.CACHE_KEY, "key-5", [])
    assert execute_async(cached, 5, cache_key_decided=True, cache_key="key-5") == 5


def test_b11_coroutines_in_one_loop_have_contexts_and_prints_of_their_own() -> None:
    @task(log_prints=True)
    async def says(text: str) -> str:
        print(f"begin {text}", end="")
        await asyncio.sleep(0)
        print(f", end {text}")
        return get_run_context().run.name

    body = TaskBody(says, True)
    hosts = [LaneHost(), LaneHost()]

    async def both() -> list[Any]:
        template = plain_template(says, frozenset())
        runs = [
            body.execute_async(
                Invocation(new_id(), 1, template, pickling.dumps(((f"{at}",), {})), ordinal=at), host
            )
            for at, host in enumerate(hosts)
        ]
        return await asyncio.gather(*runs)

    names = [pickling.loads(report) for report in asyncio.run(both())]
    assert names == ["says-0", "says-1"]
    assert [host.logs for host in hosts] == [[(20, f"begin {at}, end {at}")] for at in range(2)]
