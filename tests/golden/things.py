"""One of every kind of pickle that the database or the wire holds, made by the release that runs this.

As a script it writes them into files: ``python things.py DIRECTORY``. What holds code by value can be loaded
by the same minor version of Python only, so it goes into a folder of its own.
"""

import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from taskyard import (
    Completed,
    Failed,
    Future,
    FutureList,
    State,
    StateType,
    allow_failure,
    as_completed,
    exponential_backoff,
    flow,
    get_run_logger,
    opaque,
    quote,
    runtime,
    tags,
    task,
    task_input_hash,
    unmapped,
    wait,
)
from taskyard import cache_policies as policies
from taskyard.context import FlowRun, TaskRun
from taskyard.exceptions import CrashedRun, FailedRun, TaskRunTimeoutError, TerminationSignal
from taskyard.states import StateDetails, is_state
from taskyard.task_runners import AgentTaskRunner, ThreadPoolTaskRunner
from taskyard.utilities.annotations import NotSet
from taskyard_api.v1 import template_pb2
from taskyard_contract import pickling
from taskyard_contract.errors import PayloadTooLarge
from taskyard_contract.execution import Invocation

try:
    from taskyard._engine.execution.task_body import TaskBody
    from taskyard._engine.submission.arguments import pack
    from taskyard_contract.failures import failure_of
except ImportError:  # release 0.1.0
    from taskyard._arguments import pack
    from taskyard._body import TaskBody
    from taskyard._failures import failure_of

RUN = bytes(range(16))
OTHER = bytes(range(16, 32))
WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SCOPE: Any = SimpleNamespace(host=None)


@task
def add(a: int, b: int = 10) -> int:
    return a + b


def hook(of: Any, run: Any, state: Any) -> None:
    get_run_logger().info("hook %s %s %s", of.name, run.name, state)


def may_retry(of: Any, run: Any, state: Any) -> bool:
    return bool(state.is_failed())


@task(
    name="with options",
    description="Everything a task can be told.",
    tags=["a", "b"],
    version="7",
    queue="slow",
    priority=3,
    cache_policy=policies.INPUTS - "secret" + policies.TASK_SOURCE,
    cache_expiration=timedelta(hours=1),
    refresh_cache=False,
    task_run_name="options-{a}",
    retries=3,
    retry_delay_seconds=exponential_backoff(2),
    retry_jitter_factor=0.5,
    retry_condition_fn=may_retry,
    timeout_seconds=30,
    log_prints=True,
    persist_result=True,
    on_completion=[hook],
    on_failure=[hook],
    on_running=[hook],
    viz_return_value=1,
)
def with_options(a: int, secret: str = "") -> int:
    print("in the task")
    return a


@task(cache_key_fn=task_input_hash, task_run_name=lambda: "named")
def with_key_function(a: int) -> int:
    return a


@task(result_storage_key="{parameters[a]}", retry_delay_seconds=[1, 2], retries=2)
def with_storage_key(a: int) -> int:
    return a


@flow(
    name="inner",
    retries=2,
    retry_delay_seconds=lambda retries: [1.0] * retries,
    timeout_seconds=9,
    task_runner=ThreadPoolTaskRunner(2),
    on_cancellation=[hook],
    on_crashed=[hook],
    final_state="all",
    flow_run_name="inner-{x}",
)
def inner(x: int = 1) -> Any:
    return add.submit(x)


@flow(task_runner=AgentTaskRunner)
async def inner_async() -> None:
    return None


@task
def calls_others() -> list[Any]:
    return [inner.name, inner_async.name, add.fn(1), with_options.settings.retries]


@task
def again(n: int) -> int:
    return n + again.fn(n - 1) if n else 0


@task
async def coroutine(a: int) -> int:
    return a + 1


@task
def generator(n: int) -> Iterator[int]:
    yield from range(n)


@task
async def async_generator(n: int) -> AsyncIterator[int]:
    for number in range(n):
        yield number


@dataclass
class Account:
    owner: str

    @task
    def greet(self, word: str) -> str:
        return f"{word} {self.owner}"

    @classmethod
    @task
    def kind(cls) -> str:
        return cls.__name__

    @task
    @staticmethod
    def constant() -> int:
        return 4


@task
def uses_public_names() -> list[str]:
    named = (Future, FutureList, State, StateType, Completed, Failed, StateDetails, is_state)
    functions = (wait, as_completed, tags, unmapped, quote, opaque, allow_failure, get_run_logger)
    helpers = (task_input_hash, exponential_backoff, runtime, FailedRun, policies.INPUTS, NotSet)
    return [str(one is not None) for one in (*named, *functions, *helpers)]


def closure() -> Any:
    state = Completed(data=[1, 2], message="in a closure")

    @task
    def sees_state() -> Any:
        return state.result()

    return sees_state


class OwnError(Exception):
    """Defined by the program."""


class AwkwardError(Exception):
    """Its constructor takes something else than its arguments say."""

    def __init__(self, code: int, *, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code


def details() -> StateDetails:
    return StateDetails(flow_run_id=UUID(bytes=RUN), task_run_id=UUID(bytes=OTHER), cache_key="k")


def future(run_id: bytes = RUN) -> Any:
    return Future(run_id, SCOPE)


def invocation() -> Invocation:
    template = template_pb2.RunTemplate(name="add", task_key="key", tags=["t"])
    return Invocation(RUN, 1, template, b"", flow_run_id=OTHER, flow_run_name="brave-otter", ordinal=4)


def code() -> dict[str, Any]:
    """Return tasks whose code travels by value."""
    return {
        "add": add,
        "with_options": with_options,
        "with_key_function": with_key_function,
        "with_storage_key": with_storage_key,
        "calls_others": calls_others,
        "again": again,
        "coroutine": coroutine,
        "generator": generator,
        "async_generator": async_generator,
        "method": Account("ann").greet,
        "static_method": Account.constant,
        "uses_public_names": uses_public_names,
        "closure": closure(),
    }


def values() -> dict[str, Any]:
    """Return values that tasks and flows return, or raise, and that need no code of the program."""
    states = [Completed(data=1), Failed(message="no", data=ValueError("no"))]
    return {
        "state": Completed(message="by hand", data={"a": 1}, name="Fine", timestamp=WHEN, id=UUID(bytes=RUN)),
        "state_of_states": Completed(data=states, state_details=details()),
        "state_without_data": State(StateType.CRASHED, message="gone"),
        "state_details": details(),
        "annotations": [unmapped([1]), quote(2), opaque(3), allow_failure(4), NotSet],
        "policies": [policies.DEFAULT, policies.FLOW_PARAMETERS, policies.NO_CACHE, policies.RUN_ID],
        "flow_run": FlowRun(RUN, "run", flow_name="f", parameters={"x": 1}, tags=["t"]),
        "task_run": TaskRun(RUN, "run", task_name="t", tags=["t"], run_count=2),
        "task_run_of_worker": TaskRun.from_invocation(invocation()),
        "runners": [AgentTaskRunner(), ThreadPoolTaskRunner(3), AgentTaskRunner],
        "function": [task_input_hash, wait, as_completed, is_state, exponential_backoff],
        "installed_task": task(retries=1, tags=["x"])(textwrap.dedent),
    }


def errors() -> dict[str, BaseException]:
    """Return exceptions whose classes every process has."""
    return {
        "value_error": ValueError("bad", 3),
        "unicode_error": UnicodeDecodeError("utf-8", b"x", 0, 1, "odd"),
        "timeout": TaskRunTimeoutError("too long"),
        "crashed": CrashedRun("gone", run_id=RUN),
        "too_large": PayloadTooLarge("big", limit=5),
        "termination": TerminationSignal(15),
    }


def own_errors() -> dict[str, BaseException]:
    """Return exceptions of the program's own classes."""
    return {"own": OwnError("mine"), "awkward": AwkwardError(7, detail="odd")}


def _written(name: str, call: tuple[tuple[Any, ...], dict[str, Any]]) -> bytes:
    written: Any = pack(name, *call, {})
    data: bytes = getattr(written, "data", written)  # of 0.1.0 bytes alone
    return data


def arguments() -> dict[str, tuple[tuple[Any, ...], dict[str, Any]]]:
    """Return calls: futures, and states of runs, among the arguments become references."""
    state = Completed(data=5, state_details=StateDetails(task_run_id=UUID(bytes=OTHER)))
    return {
        "plain": ((1, "two"), {"three": [3]}),
        "futures": ((future(), {"deep": [future(OTHER)]}), {"list": FutureList([future()])}),
        "state": ((state,), {}),
        "state_by_hand": ((Completed(data=6),), {}),
        "unmapped": ((unmapped([1, future()]),), {}),
        "quote": ((quote({"a": 1}),), {}),
        "opaque": ((opaque([1]), opaque(future())), {}),
        "allow_failure": ((allow_failure([future()]),), {}),
    }


def by_value() -> dict[str, bytes]:
    """Return pickles with code in them."""
    blobs = {f"code-{name}": pickling.dumps_by_value(TaskBody(of, True)) for name, of in code().items()}
    failures = {f"error-{name}": failure_of(error).encoded.data for name, error in own_errors().items()}
    return {**blobs, **failures, "value-flow": pickling.dumps_by_value(inner)}


def by_name() -> dict[str, bytes]:
    """Return pickles that hold names and data only."""
    return {
        **{f"value-{name}": pickling.dumps(value) for name, value in values().items()},
        **{f"error-{name}": failure_of(error).encoded.data for name, error in errors().items()},
        **{f"arguments-{name}": _written(name, call) for name, call in arguments().items()},
        "code-installed": pickling.dumps_by_value(TaskBody(task(retries=1)(textwrap.dedent), False)),
    }


def main(directory: Path) -> None:
    """Write everything."""
    version = directory / f"python{sys.version_info.major}.{sys.version_info.minor}"
    for folder, pickles in ((directory / "any", by_name()), (version, by_value())):
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in pickles.items():
            (folder / f"{name}.pickle").write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
