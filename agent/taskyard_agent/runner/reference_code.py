"""Code by reference, ``module:qualname``: for tasks of clients that cannot send Python code.

Arguments and results are JSON (``{"args": [...], "kwargs": {...}}``) or pickles, as the template says.
Invariant: a `ReferenceCode` behaves as any other `TaskCode`: it returns what happened and never raises.
"""

import asyncio
import inspect
import json
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from taskyard_agent.runner.report_columns import raised, unavailable
from taskyard_api.v1 import agent_service_pb2 as pb
from taskyard_contract import pickling, references
from taskyard_contract.execution import Invocation, WorkerHost

JSON: Final = "json/plain"


def import_function(reference: str) -> Callable[..., Any]:
    """Import what ``module:qualname`` names; a decorated task stands for the function in it.

    Raises:
        ImportError, AttributeError, ValueError, TypeError: There is nothing to call under that name.
    """
    module_name, separator, qualname = reference.partition(":")
    if not separator or not qualname:
        raise ValueError(f"'{reference}' is not a code reference; expected 'module:qualname'")
    found: Any = import_module(module_name)
    for part in qualname.split("."):
        found = getattr(found, part)
    function = getattr(found, "fn", found)
    if not callable(function):
        raise TypeError(f"'{reference}' is a {type(found).__qualname__}, which cannot be called")
    result: Callable[..., Any] = function
    return result


class ReferenceCode:
    """Calls an imported function."""

    def __init__(self, reference: str, encoding: str) -> None:
        """Import the function.

        Raises:
            ImportError, AttributeError, ValueError, TypeError: See `import_function`; or the encoding is
                none that this worker knows.
        """
        if encoding not in (JSON, pickling.ENCODING):
            raise ValueError(f"encoding '{encoding}' is unknown; use '{JSON}' or '{pickling.ENCODING}'")
        self._function = import_function(reference)
        self._encoding = encoding

    def execute(self, invocation: Invocation, host: WorkerHost) -> bytes | pb.ReportException:
        """Call the function once."""
        try:
            args, kwargs = self._arguments(invocation)
        except Exception as error:
            return unavailable(f"the arguments of {invocation.run_name} could not be read: {error}", error)
        try:
            value = self._function(*args, **kwargs)
            if inspect.iscoroutine(value):
                value = asyncio.run(value)
            return self._encode(value)
        except BaseException as error:
            return raised(error, self._encoding)

    def _arguments(self, invocation: Invocation) -> tuple[list[Any], dict[str, Any]]:
        if not invocation.args:
            return [], {}
        if self._encoding == JSON:
            given = json.loads(invocation.args)
            return list(given.get("args", ())), dict(given.get("kwargs", {}))
        with references.resolving(invocation.inputs or {}):
            args, kwargs = pickling.loads(invocation.args)
        return list(args), dict(kwargs)

    def _encode(self, value: Any) -> bytes:
        if self._encoding == JSON:
            return json.dumps(value, separators=(",", ":")).encode()
        return pickling.dumps(value)
