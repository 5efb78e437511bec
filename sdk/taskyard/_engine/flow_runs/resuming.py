"""Takes up a flow run where it ended, in this process; or says what that would do.

Invariant: a plan changes nothing at the control plane.
"""

import asyncio
import inspect
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from contextvars import copy_context
from typing import Any, Final, cast
from uuid import UUID

from taskyard._data.runs.records import FlowRun
from taskyard._data.runs.resume_plan import ResumePlan
from taskyard._engine.definitions.flow_definition import FlowDefinition
from taskyard._engine.flow_runs.again import Again
from taskyard._engine.flow_runs.engine import run_once
from taskyard._engine.flow_runs.flow_reports import inherited_inside
from taskyard._engine.flow_runs.task_runners import runner_of
from taskyard._engine.resuming.calls import EarlierCalls
from taskyard._engine.resuming.planning import PlanEnds, Planning
from taskyard._engine.resuming.reusing import CHANGED_CODE, ChangedCode
from taskyard._engine.submission.futures_by_id import id_of
from taskyard._engine.submission.scope import Scope, outside_scope
from taskyard.context import FlowRunContext, current_context, tags
from taskyard.exceptions import ParameterBindError, RunNotFound, RunNotResumable
from taskyard_contract.encodings import decode_payload
from taskyard_contract.failures import text_of, type_name
from taskyard_contract.states import FIRST_FINAL, RunKind, RunState, shown_as

_MAIN: Final = "__main__"
_as_main = threading.Lock()


class EndedFlowRun:
    """A flow run that has ended, and may be taken up."""

    def __init__(self, flow_run_id: UUID | str, *, completed: bool = False) -> None:
        """Read it.

        Args:
            flow_run_id: The run.
            completed: Whether it may have completed.

        Raises:
            ValueError: The text is no id.
            RunNotFound: There is no such flow run.
            RunNotResumable: It has not ended, or has completed.
        """
        self._scope = outside_scope()
        run = self._scope.session.open().client().get_run(id_of(flow_run_id).bytes, full=True)
        if int(run.kind) != RunKind.FLOW:
            raise RunNotFound(
                f"run '{run.name}' is a task run; only flow runs are resumed: give the id of the one it is in"
            )
        if run.state < FIRST_FINAL:
            raise RunNotResumable(
                f"flow run '{run.name}' has not ended: it is {shown_as(int(run.state))[1]}; wait for it, or "
                "cancel it first. The run of a program that was killed ends when its session is given up"
            )
        if int(run.state) == RunState.COMPLETED and not completed:
            raise RunNotResumable(
                f"flow run '{run.name}' has completed; to run its body once more all the same, say so "
                "(completed=True, --completed)"
            )
        self.run = run

    @property
    def entrypoint(self) -> str:
        """Where its flow can be loaded from; empty where nobody recorded that."""
        return self.run.template.entrypoint

    def execute(
        self,
        flow: FlowDefinition[..., Any],
        changed_code: ChangedCode,
        *,
        completed: bool,
        return_state: bool,
    ) -> Any:
        """Make its next attempt in this process, or return a coroutine that does so for one in a loop.

        Raises:
            RunNotResumable: Somebody else has resumed it meanwhile, or its parameters are not recorded.
            ParameterBindError: The flow takes other parameters now.
            Exception: Whatever the flow raised.
        """
        again = Again(self.run.run_id, self.run.name, self.run.attempt, _checked(changed_code), completed)
        parameters = self._parameters(flow)
        if flow.isasync:
            return self._execute_async(flow, parameters, again, return_state)
        with tags(*self.run.tags):
            return run_once(flow, parameters, again, return_state)

    async def _execute_async(
        self, flow: FlowDefinition[..., Any], parameters: dict[str, Any], again: Again, return_state: bool
    ) -> Any:
        from taskyard._engine.flow_runs import async_engine  # as it says itself

        with tags(*self.run.tags):
            return await async_engine.run_once_async(flow, parameters, again, return_state)

    def plan(self, flow: FlowDefinition[..., Any], changed_code: ChangedCode) -> ResumePlan:
        """Run the body with nothing executed, and return what would be.

        Raises:
            RunNotResumable: Its parameters are not recorded.
            ParameterBindError: The flow takes other parameters now.
        """
        parameters = self._parameters(flow)
        caller = self._scope
        runner = runner_of(flow.task_runner, caller)
        calls = EarlierCalls(caller.session.client().call_pages(self.run.run_id))
        planning = Planning(calls, _checked(changed_code))
        scope = Scope(
            caller.session,
            self.run.run_id,
            task_runner=runner,
            code=caller.code if flow.settings.code is None else flow.settings.code,
            inherited=inherited_inside(flow, caller.inherited),
            call_gives_future=flow.settings.call_gives_future,
        )
        scope.earlier = planning
        with ExitStack() as stack:
            stack.enter_context(runner.started(scope))
            stack.enter_context(self._context(flow, parameters, scope))
            ends = _run_body(flow, parameters)
        return ResumePlan(tuple(planning.planned), ends)

    def _context(
        self, flow: FlowDefinition[..., Any], parameters: dict[str, Any], scope: Scope
    ) -> FlowRunContext:
        run = FlowRun(
            self.run.run_id,
            self.run.name,
            flow_name=flow.name,
            flow_version=flow.version,
            parameters=parameters,
            tags=sorted(self.run.tags),
            run_count=self.run.attempt + 1,
        )
        return FlowRunContext(
            flow, run, parameters, log_sink=lambda entry: None, scope=scope, task_runner=scope.task_runner
        )

    def _parameters(self, flow: FlowDefinition[..., Any]) -> dict[str, Any]:
        payload = self.run.args
        if not (payload.data or payload.HasField("blob")):
            raise RunNotResumable(
                f"the parameters of flow run '{self.run.name}' are not recorded: one of them cannot be "
                "pickled, or they were too large; call the flow anew"
            )
        read = lambda: decode_payload(payload, self._scope.fetch)  # noqa: E731  # called in two ways
        try:
            _, recorded = _with_main(flow.fn.__module__, read)
        except Exception as error:  # unpickling runs foreign code
            raise RunNotResumable(
                f"the parameters of flow run '{self.run.name}' cannot be read here: "
                f"{type_name(error)}: {text_of(error)}; resume it where the modules of their classes can be "
                "imported"
            ) from error
        try:
            args, kwargs = flow.signature.split(recorded)
            return flow.signature.bind(args, kwargs)
        except (ParameterBindError, TypeError, KeyError) as error:
            raise ParameterBindError(
                f"flow '{flow.name}' does not take the parameters {sorted(recorded)} any more, which "
                f"flow run '{self.run.name}' was called with: {error}"
            ) from error


def _with_main(module: str, read: Callable[[], Any]) -> Any:
    """Read parameters of a flow whose file was the program then and is a module now: that has its classes."""
    if module == _MAIN:
        return read()
    with _as_main:
        before = sys.modules[_MAIN]
        sys.modules[_MAIN] = sys.modules.get(module, before)
        try:
            return read()
        finally:
            sys.modules[_MAIN] = before


def _checked(changed_code: str) -> ChangedCode:
    if changed_code not in CHANGED_CODE:
        raise ValueError(f"changed_code is one of {', '.join(map(repr, CHANGED_CODE))}, not {changed_code!r}")
    if current_context() is not None:
        raise RuntimeError("a flow run is resumed by a program, not from inside another run")
    return cast(ChangedCode, changed_code)


def _run_body(flow: FlowDefinition[..., Any], parameters: dict[str, Any]) -> str:
    """Run the body of a flow; returns why it did not come to its end, if it did not."""
    try:
        given = parameters if flow.validator is None else flow.validator.validate(parameters)
        args, kwargs = flow.signature.split(given)
        value = flow.body(*args, **kwargs)
        if flow.isasync:
            _run_apart(_to_the_end(value))
        elif inspect.isgenerator(value):
            list(value)
    except PlanEnds as end:
        return str(end)
    except Exception as error:  # user code
        return f"the body raised {type_name(error)}: {text_of(error)}"
    except BaseExceptionGroup as group:  # of tasks of a group of asyncio
        ends, others = group.split(PlanEnds)
        if ends is None or (others is not None and not isinstance(others, ExceptionGroup)):
            raise
        return str(_first_of(ends))
    return ""


def _first_of(group: BaseExceptionGroup[Any]) -> BaseException:
    first = group.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first


def _run_apart(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end, where a loop may be running in this thread: notebooks have one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(1) as thread:
        thread.submit(copy_context().run, asyncio.run, work).result()


async def _to_the_end(value: Any) -> None:
    if hasattr(value, "__aiter__"):
        async for _ in value:
            pass
    else:
        await value
