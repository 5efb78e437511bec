"""Code by reference, ``module:qualname``: for tasks of clients that cannot send Python code.

Arguments and results are JSON (``{"args": [...], "kwargs": {...}}``) or pickles, as the template says.
Invariant: a `ReferenceCode` behaves as any other `TaskCode`: it returns what happened and never raises.
"""

import asyncio
import inspect
from typing import Any

from taskyard_agent.runner.report_columns import raised, unavailable
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract import references
from taskyard_contract.code_references import callable_at
from taskyard_contract.encodings import JSON, PICKLE, decode, encode_as
from taskyard_contract.execution import Invocation, WorkerHost
from taskyard_contract.failures import text_of


class ReferenceCode:
    """A function found by its name, which gets plain arguments and knows nothing of runs."""

    def __init__(self, reference: str, encoding: str) -> None:
        """Import the function.

        Raises:
            ImportError, AttributeError, ValueError, TypeError: See `callable_at`; or the encoding is
                none that this worker knows.
        """
        if encoding not in (JSON, PICKLE):
            raise ValueError(f"arguments in encoding '{encoding}' are unknown; use '{JSON}' or '{PICKLE}'")
        self._function = callable_at(reference)
        self._encoding = encoding

    def execute(self, invocation: Invocation, host: WorkerHost) -> bytes | pb.ReportException:
        """Decode the arguments, call the function, await what it returns if need be, encode the value."""
        try:
            args, kwargs = self._arguments(invocation)
        except Exception as error:
            what = f"the arguments of {invocation.run_name} could not be read"
            return unavailable(f"{what}: {text_of(error)}", error)
        try:
            value = self._function(*args, **kwargs)
            if inspect.iscoroutine(value):
                value = asyncio.run(value)
            return encode_as(value, self._encoding)
        except BaseException as error:
            return raised(error, self._encoding)

    def _arguments(self, invocation: Invocation) -> tuple[list[Any], dict[str, Any]]:
        if not invocation.args:
            return [], {}
        if self._encoding == JSON:
            given = decode(invocation.args, JSON)
            return list(given.get("args", ())), dict(given.get("kwargs", {}))
        with references.resolving(invocation.inputs or {}):
            args, kwargs = decode(invocation.args, PICKLE)
        return list(args), dict(kwargs)
