"""Runs the bodies of flows that are ordinary functions; `async_engine` takes the same steps in an event loop.

Invariant: whatever ends a body, the end is reported, and the caller learns it only after the control plane
has made it durable; only an interrupted process waits no longer than it may. A child that the body forks
reports nothing: what it returns, or raises, goes on as if there were no flow.
"""

import time
from concurrent.futures import TimeoutError as DecisionTimeout
from contextlib import ExitStack, closing
from inspect import isgenerator
from typing import Any

from taskyard._data.runs.state import State
from taskyard._engine.definitions.flow_definition import FlowDefinition
from taskyard._engine.execution.interrupts import (
    TimeLimit,
    interrupter,
)
from taskyard._engine.execution.termination import catch_termination, exit_code_of
from taskyard._engine.flow_runs.again import Again
from taskyard._engine.flow_runs.flow_arguments import edges_of, resolved
from taskyard._engine.flow_runs.flow_run import INTERRUPTED_SECONDS, FlowRunRecord
from taskyard._engine.flow_runs.nested_again import found_before
from taskyard._engine.flow_runs.not_ready import NeverStarted
from taskyard._engine.futures.waiting import wait_for_all_inside
from taskyard._network.session.run_groups import Upstream
from taskyard.exceptions import (
    FlowCancelled,
    FlowTimedOut,
    TaskyardError,
    TerminationSignal,
    UpstreamTaskError,
)

Call = tuple[tuple[Any, ...], dict[str, Any]]


def run_sync(flow: FlowDefinition[..., Any], call: Call, wait_for: object, return_state: bool) -> Any:
    """Run a flow in this thread."""
    flow.signature.check(*call)
    upstream = edges_of(flow.name, call, wait_for)
    try:
        parameters = flow.signature.bind(*resolved(call, wait_for))
    except UpstreamTaskError as why:
        run = NeverStarted(flow, upstream, why)
        if run.decision is not None:
            run.decision.result()
        return run.result(return_state)
    found = found_before(flow, parameters)
    if isinstance(found, State):
        return found if return_state else found.result()
    return run_once(flow, parameters, found, return_state, upstream)


def run_once(
    flow: FlowDefinition[..., Any],
    parameters: dict[str, Any],
    again: Again | None,
    return_state: bool,
    upstream: Upstream | None = None,
) -> Any:
    """Run a flow with its parameters, in a run of its own or in one that is executed `again`."""
    with ExitStack() as stack:
        record = FlowRunRecord(flow, parameters, stack, again, upstream)
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
                record.recall()
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
        FlowTimedOut: The time of a flow around this one is over.
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
    except FlowTimedOut:
        if not limit.expired:
            raise
        failure = limit.error()
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
