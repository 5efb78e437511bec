"""Runs the bodies of flows that are coroutine functions, in the caller's event loop.

The steps are those of `engine`. Apart from it, because asyncio takes longer to import than all the rest of
the SDK, and many programs have no use for it before their first call.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import ExitStack, closing
from typing import Any

from taskyard._data.runs.state import State
from taskyard._data.values.folding import fold_run
from taskyard._engine.definitions.flow_definition import FlowDefinition
from taskyard._engine.execution.interrupts import (
    LoopInterrupter,
    TimeLimit,
)
from taskyard._engine.execution.termination import catch_termination, exit_code_of
from taskyard._engine.flow_runs.again import Again
from taskyard._engine.flow_runs.engine import Call
from taskyard._engine.flow_runs.flow_arguments import edges_of, resolved, upstream_of
from taskyard._engine.flow_runs.flow_run import INTERRUPTED_SECONDS, FlowRunRecord
from taskyard._engine.flow_runs.nested_again import found_before
from taskyard._engine.flow_runs.not_ready import NeverStarted
from taskyard._engine.futures.in_values import futures_in
from taskyard._engine.futures.waiting import wait_for_all_inside_async
from taskyard._engine.submission.direct_calls import named
from taskyard._network.session.run_groups import Upstream
from taskyard.exceptions import FlowCancelled, TaskyardError, TerminationSignal, UpstreamTaskError


def run_async(
    flow: FlowDefinition[..., Any], call: Call, wait_for: object, return_state: bool
) -> Coroutine[Any, Any, Any]:
    """Run a flow in the running event loop, once the coroutine is awaited.

    Raises:
        ParameterBindError: The arguments do not fit the function's signature.
    """
    flow.signature.check(*call)

    async def run() -> Any:
        try:
            return await run_folded()
        except BaseException as error:
            fold_run(error)
            raise

    async def run_folded() -> Any:
        for future in upstream_of(call, wait_for):
            await future.await_state()
        upstream = edges_of(flow.name, call, wait_for)
        try:
            parameters = flow.signature.bind(*resolved(call, wait_for))
        except UpstreamTaskError as why:
            never = NeverStarted(flow, upstream, why)
            if never.decision is not None:
                await asyncio.wrap_future(never.decision)
            return never.result(return_state)
        found = found_before(flow, parameters)
        if isinstance(found, State):
            return found if return_state else found.result()
        return await run_once_async(flow, parameters, found, return_state, upstream)

    return named(run(), flow.name)


async def run_once_async(
    flow: FlowDefinition[..., Any],
    parameters: dict[str, Any],
    again: Again | None,
    return_state: bool,
    upstream: Upstream | None = None,
) -> Any:
    """Run a flow with its parameters, in a run of its own or in one that is executed `again`."""
    with ExitStack() as stack:
        record = FlowRunRecord(flow, parameters, stack, again, upstream)
        delay = await _attempt_async(record)
        while delay is not None:
            await asyncio.sleep(delay)
            delay = await _attempt_async(record)
        return record.result(return_state)


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
                    if record.attempt_number > 1:
                        await asyncio.to_thread(record.recall)
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
    if record.flow.results is None:
        record.ended(value)
    else:  # storage is written
        await asyncio.to_thread(record.ended, value)


async def _report_interruption_async(record: FlowRunRecord) -> None:
    decision = record.session.report_end(record.end_report())
    try:
        record.decide(await asyncio.wait_for(asyncio.wrap_future(decision), INTERRUPTED_SECONDS))
    except (TimeoutError, TaskyardError):
        pass  # The session's lease will tell it.
