"""Hooks, transactions, cache keys, retry conditions: functions that programs give."""

from typing import Any, assert_type

from taskyard import Flow, State, Task, flow, task
from taskyard.cache_policies import INPUTS, NO_CACHE
from taskyard.transactions import BaseTransaction, Transaction, get_transaction, transaction


def ended(task: Task[..., Any], run: Any, state: State[Any]) -> None: ...


def flow_ended(flow: Flow[..., Any], run: Any, state: State[Any]) -> None: ...


def of_nothing() -> None: ...


def is_worth_it(task: Task[..., Any], run: Any, state: State[Any]) -> bool:
    return True


@task(
    on_completion=[ended],
    on_failure=[ended],
    retry_condition_fn=is_worth_it,
    cache_policy=INPUTS,
    retry_delay_seconds=[1, 2.5],
)
def hooked(x: int) -> int:
    return x


@flow(on_completion=[flow_ended], on_cancellation=[flow_ended])
def hooked_flow() -> None: ...


@task(cache_policy="inputs")  # E: mypy(call-overload) pyright(reportArgumentType)
def cached() -> None: ...


@task(on_failure=ended)  # E: mypy(call-overload) pyright(reportArgumentType)
def one_hook() -> None: ...


@task(cache_policy=NO_CACHE, persist_result=True)
def kept() -> None: ...


@hooked.on_rollback
def undo(transaction: Transaction) -> None:
    assert_type(transaction.get("key"), Any)


@hooked.on_completion
def said(task: Task[..., Any], run: Any, state: State[Any]) -> None: ...


def commits() -> None:
    with transaction(key="a") as opened:
        assert_type(opened, Transaction)
        assert_type(hooked(1), int)
        opened.set("a", 1)
        opened.sett("a", 1)  # E: mypy(attr-defined) pyright(reportAttributeAccessIssue)
    assert_type(get_transaction(), BaseTransaction | None)
    transaction(kee="a")  # E: mypy(call-arg) pyright(reportCallIssue)
    undo(3)  # E: mypy(arg-type) pyright(reportArgumentType)
    said(1, 2, 3)  # E: mypy(arg-type) pyright(reportArgumentType)
