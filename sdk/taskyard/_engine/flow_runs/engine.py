"""Runs the bodies of flows: a synchronous and an asynchronous way around the same steps.

Invariant: whatever ends a body, the end is reported, and the caller learns it only after the control plane
has made it durable; only an interrupted process waits no longer than it may. A child that the body forks
reports nothing: what it returns, or raises, goes on as if there were no flow.
"""

import asyncio
import time
from collections.abc import Coroutine
from concurrent.futures import TimeoutError as DecisionTimeout
from contextlib import ExitStack, closing
from inspect import isgenerator
from typing import Any

from taskyard._engine.definitions.flow_definition import FlowDefinition
from taskyard._engine.execution.interrupts import (
    LoopInterrupter,
    TimeLimit,
    catch_termination,
    exit_code_of,
    interrupter,
    is_for_a_flow_around,
)
from taskyard._engine.flow_runs.flow_arguments import resolved, upstream_of
from taskyard._engine.flow_runs.flow_run import INTERRUPTED_SECONDS, FlowRunRecord
from taskyard._engine.futures.in_values import futures_in
from taskyard._engine.futures.waiting import wait_for_all_inside, wait_for_all_inside_async
from taskyard.exceptions import FlowCancelled, FlowRunTimeoutError, TaskyardError, TerminationSignal

Call = tuple[tuple[Any, ...], dict[str, Any]]


def run_sync(flow: FlowDefinition[..., Any], call: Call, wait_for: object, return_state: bool) -> Any:
    """Run a flow in this thread."""
    parameters = flow.signature.bind(*resolved(call, wait_for))
    with ExitStack() as stack:
        record = FlowRunRecord(flow, parameters, stack)
        outermost = stack.enter_context(catch_termination())
        try:
            while (delay := _attempt(record)) is not None:
                time.sleep(delay)
        except TerminationSignal as error:
            if not outermost:
                raise
            raise SystemExit(exit_code_of(error.signal)) from None
        return record.result(return_state)


def _attempt(record: FlowRunRecord) -> float | None:
    """Make one attempt; returns the delay before the next one, or None."""
    with closing(interrupter()) as stopper, record.attempt(stopper.interrupt):
        try:
            try:
                record.begin()
                _execute(record)
                stopper.close()
            except FlowCancelled as error:
                stopper.close()
                record.yielded()
                wait_for_all_inside(record.scope)
                record.failed(error)
        except BaseException as error:
            if not record.is_copied():
                record.interrupted(error)
                _report_interruption(record)
            raise
        finally:
            stopper.close()
        if record.is_copied():
            return None
        return record.decide(record.session.report_end(record.end_report()).result())


def _execute(record: FlowRunRecord) -> None:
    """Execute the body and wait for what it submitted; notes how that ended.

    Raises:
        FlowCancelled: The run is to be cancelled; it may be raised anywhere in here.
        FlowRunTimeoutError: The time of a flow around this one is over.
    """
    limit = TimeLimit(record.flow.timeout_seconds, record.flow.name)
    value: Any = None
    failure: Exception | None = None
    try:
        args, kwargs = record.arguments()
        with limit:
            value = record.flow.body(*args, **kwargs)
            if isgenerator(value):
                value = list(value)
    except FlowRunTimeoutError as error:
        if not limit.expired and is_for_a_flow_around(error):
            raise
        failure = limit.error() if limit.expired else error
    except Exception as error:
        failure = error
    if record.is_copied():
        record.ended_in_child(value, failure)
        return
    if failure is not None:
        record.withdraw_inside()
    wait_for_all_inside(record.scope)
    if failure is not None:
        record.failed(failure, limit.expired, limit.message)
    else:
        record.ended(value)


def _report_interruption(record: FlowRunRecord) -> None:
    """Tell the control plane that this process is going down; an answer is awaited, but not for long."""
    try:
        record.decide(record.session.report_end(record.end_report()).result(INTERRUPTED_SECONDS))
    except (DecisionTimeout, TaskyardError):
        pass  # The session's lease will tell it.


def run_async(
    flow: FlowDefinition[..., Any], call: Call, wait_for: object, return_state: bool
) -> Coroutine[Any, Any, Any]:
    """Run a flow in the running event loop, once the coroutine is awaited.

    Raises:
        ParameterBindError: The arguments do not fit the function's signature.
    """
    flow.signature.check(*call)

    async def run() -> Any:
        for future in upstream_of(call, wait_for):
            await future.await_state()
        parameters = flow.signature.bind(*resolved(call, wait_for))
        with ExitStack() as stack:
            record = FlowRunRecord(flow, parameters, stack)
            delay = await _attempt_async(record)
            while delay is not None:
                await asyncio.sleep(delay)
                delay = await _attempt_async(record)
            return record.result(return_state)

    return run()


async def _attempt_async(record: FlowRunRecord) -> float | None:
    """Make one attempt; returns the delay before the next one, or None."""
    signals: list[int] = []
    with closing(LoopInterrupter()) as stopper, record.attempt(stopper.interrupt):

        def terminate(number: int) -> None:
            signals.append(number)
            stopper.interrupt()

        try:
            with catch_termination(terminate):
                try:
                    record.begin()
                    await _execute_async(record)
                except asyncio.CancelledError:
                    if signals or not stopper.was_meant():
                        raise
                    record.yielded()
                    await wait_for_all_inside_async(record.scope)
                    record.failed(FlowCancelled())
        except BaseException as error:
            if record.is_copied():
                raise
            record.interrupted(TerminationSignal(signals[0]) if signals else error)
            await _report_interruption_async(record)
            if signals:
                raise SystemExit(exit_code_of(signals[0])) from None
            raise
        finally:
            stopper.close()
        if record.is_copied():
            return None
        decision = record.session.report_end(record.end_report())
        return record.decide(await asyncio.wrap_future(decision))


async def _execute_async(record: FlowRunRecord) -> None:
    """Execute the body and wait for what it submitted, and for what it returned; notes how that ended.

    Raises:
        asyncio.CancelledError: Somebody stops it; it may be raised anywhere in here.
    """
    seconds = record.flow.timeout_seconds
    limit = TimeLimit(seconds, record.flow.name)
    value: Any = None
    failure: Exception | None = None
    try:
        args, kwargs = record.arguments()
        async with asyncio.timeout(seconds) as timeout:
            value = record.flow.body(*args, **kwargs)
            value = [item async for item in value] if hasattr(value, "__aiter__") else await value
    except TimeoutError as error:
        limit.expired = timeout.expired()
        failure = limit.error() if limit.expired else error
    except Exception as error:
        failure = error
    if record.is_copied():
        record.ended_in_child(value, failure)
        return
    if failure is not None:
        record.withdraw_inside()
    await wait_for_all_inside_async(record.scope)
    if failure is not None:
        record.failed(failure, limit.expired, limit.message)
        return
    for future in futures_in(value):  # runs of others: `ended` would hold up the loop for them
        await future.await_state()
    record.ended(value)


async def _report_interruption_async(record: FlowRunRecord) -> None:
    decision = record.session.report_end(record.end_report())
    try:
        record.decide(await asyncio.wait_for(asyncio.wrap_future(decision), INTERRUPTED_SECONDS))
    except (TimeoutError, TaskyardError):
        pass  # The session's lease will tell it.
