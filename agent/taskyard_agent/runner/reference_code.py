"""Code by reference, ``module:qualname``: for tasks of clients that cannot send Python code.

A task that lies under such a name is executed as a task, with its hooks, its context and its logger. A bare
function gets plain arguments, in the encoding that the template says, and knows nothing of runs.
Invariant: a `ReferenceCode` behaves as any other `TaskCode`: it returns what happened and never raises.
"""

import asyncio
import inspect
from typing import Any

from taskyard_agent.runner.report_columns import raised, refused_value
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract.arguments import read_arguments
from taskyard_contract.assignments.refusals import unavailable
from taskyard_contract.code_references import callable_at, task_at
from taskyard_contract.encodings import KNOWN, PICKLE, encode_as, has_type, payload_of
from taskyard_contract.execution import Invocation, TaskCode, WorkerHost, is_servable
from taskyard_contract.failures import text_of


def code_at(reference: str, encoding: str) -> TaskCode:
    """Import what a reference names, and return what executes its runs.

    Raises:
        ImportError, AttributeError, ValueError, TypeError: See `callable_at`; or the encoding of arguments is
            none that this worker knows.
    """
    task = task_at(reference, is_servable)
    if task is None:
        return ReferenceCode(reference, encoding)
    code: TaskCode = task.code_for_workers()
    return code


class ReferenceCode:
    """A function found by its name, which gets plain arguments and knows nothing of runs."""

    def __init__(self, reference: str, encoding: str) -> None:
        """Import the function.

        Raises:
            ImportError, AttributeError, ValueError, TypeError: See `code_at`.
        """
        if encoding not in KNOWN:
            raise ValueError(f"arguments in encoding '{encoding}' are unknown; use {', '.join(KNOWN)}")
        self._function = callable_at(reference)
        self._encoding = encoding

    def execute(self, invocation: Invocation, host: WorkerHost) -> bytes | pb.ReportException:
        """Decode the arguments, call the function, await what it returns if need be, encode the value."""
        try:
            args, kwargs = read_arguments(invocation)
        except Exception as error:
            what = f"the arguments of {invocation.run_name} could not be read"
            return unavailable(f"{what}: {text_of(error)}", error)
        try:
            value = self._function(*args, **kwargs)
            if inspect.iscoroutine(value):
                value = asyncio.run(value)
        except BaseException as error:
            return raised(error, self._encoding)
        return _encoded(value, invocation.result_encoding or PICKLE)


def _encoded(value: Any, encoding: str) -> bytes | pb.ReportException:
    try:
        if has_type(encoding):
            return pb.ReportException(kind=pb.REPORT_KIND_SUCCEEDED, result=payload_of(value, encoding))
        return encode_as(value, encoding)
    except Exception as error:  # pickling runs foreign code
        return refused_value(value, encoding, error)
