"""What a worker hands to the code of a task, and what it gets back.

The worker (part of the agent) knows nothing of decorators or retries, the SDK knows nothing of pipes and
chunks; this is the seam. A code blob unpickles to a `TaskCode`.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from taskyard_api.v1 import agent_service_pb2, template_pb2
from taskyard_contract.log_entry import LogEntry
from taskyard_contract.values.layout import LaidOut


class Invocation:
    """One attempt of one run, as its worker sees it."""

    __slots__ = (
        "args",
        "attempt",
        "cache_key",
        "cache_key_decided",
        "encoding",
        "epoch",
        "extra",
        "flow_run_id",
        "flow_run_name",
        "inputs",
        "name",
        "ordinal",
        "parent_run_id",
        "run_id",
        "template",
    )

    def __init__(
        self,
        run_id: bytes,
        epoch: int,
        template: template_pb2.RunTemplate,
        args: bytes,
        *,
        flow_run_id: bytes = b"",
        flow_run_name: str = "",
        parent_run_id: bytes = b"",
        ordinal: int = 0,
        name: str = "",
        attempt: int = 1,
        cache_key: str = "",
        cache_key_decided: bool = False,
        inputs: Mapping[bytes, Any] | None = None,
        encoding: str = "",
        extra: agent_service_pb2.AttemptExtra | None = None,
    ) -> None:
        """Describe the attempt.

        `inputs` maps ids of upstream runs to their decoded values, `encoding` is that of the arguments,
        where it is not the template's, and `extra` what few attempts have and only few look at.
        """
        self.run_id = run_id
        self.epoch = epoch
        self.template = template
        self.args: bytes | memoryview = args
        self.flow_run_id = flow_run_id
        self.flow_run_name = flow_run_name
        # The caller, under the name that users see: recorded values may hold an attempt, so it cannot change.
        self.parent_run_id = parent_run_id
        self.ordinal = ordinal
        self.name = name
        self.attempt = attempt
        self.cache_key = cache_key
        self.cache_key_decided = cache_key_decided
        self.inputs = inputs
        self.encoding = encoding or template.encoding
        self.extra = extra

    @property
    def result_encoding(self) -> str:
        """The encoding of the run's ordinary result."""
        return result_encoding_of(self.template)

    @property
    def run_name(self) -> str:
        """The name shown to people."""
        return self.name or f"{self.template.name}-{self.ordinal}"


def result_encoding_of(template: template_pb2.RunTemplate) -> str:
    """Return the encoding of the ordinary results of a template's runs."""
    return template.result_encoding or template.encoding


def expired_timeout(limit: float) -> str:
    """Say that an attempt took too long."""
    return f"the attempt exceeded its timeout of {limit:g} seconds and was ended"


def expired_silent(limit: float) -> str:
    """Say that an attempt was silent for too long."""
    return f"the attempt said nothing of its progress for {limit:g} seconds and was ended"


class WorkerHost(Protocol):
    """What the worker offers to the code it executes."""

    def log(self, entry: LogEntry) -> None:
        """Send a log record of the run to the control plane."""
        ...

    def blocked(self) -> AbstractContextManager[None]:
        """Say that the run waits for other runs meanwhile, so that its slot can serve them."""
        ...


class TaskCode(Protocol):
    """What a template's code becomes in a worker; one object executes all runs of it."""

    def execute(
        self, invocation: Invocation, host: WorkerHost
    ) -> bytes | LaidOut | agent_service_pb2.ReportException:
        """Execute one attempt.

        Returns:
            The encoded result when the run completed in the ordinary way, a large one laid out; otherwise
            what happened (`position` is filled in by the worker).
        """
        ...

    # Code of a coroutine function has, beside this, what executes it among others in a loop that is running:
    # `async def execute_async(invocation, host)`, which returns the same. Its host has `awaiting` beside
    # `blocked`, for waits that let the loop go round, `expired` and `cancelled`.


class Servable(Protocol):
    """A task as a worker finds it in a module: by reference, or to serve it under its name."""

    name: str

    def code_for_workers(self) -> TaskCode:
        """Return what executes its runs as those of a task."""
        ...

    def offer(self) -> agent_service_pb2.TaskOffer:
        """Return how it is announced to the control plane."""
        ...


def is_servable(found: object) -> bool:
    """Whether an object is a task that a worker can serve. Asks its class: mocks have any attribute."""
    kind = type(found)
    if getattr(kind, "is_remote", False):
        return False  # it stands for a task of others
    return all(callable(getattr(kind, name, None)) for name in ("code_for_workers", "offer"))
