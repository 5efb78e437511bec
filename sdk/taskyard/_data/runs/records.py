"""The runs that contexts, hooks and name templates show to user code.

Plain slots objects around raw ids: one is made for every attempt, and most are never looked at.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from taskyard import _durable_names
from taskyard._data.runs.state import State
from taskyard._data.values.headers import NO_HEADERS
from taskyard._durable_names import public

if TYPE_CHECKING:
    # Its messages take 30 ms to import, which programs that only submit need not pay.
    from taskyard_contract.execution import Invocation


@public("taskyard.context")
class TaskRun:
    """One attempt of a task run."""

    __slots__ = (
        "_invocation",
        "_started_ns",
        "dynamic_key",
        "flow_run_name",
        "name",
        "raw_flow_run_id",
        "raw_id",
        "raw_parent_run_id",
        "run_count",
        "state",
        "tags",
        "task_key",
        "task_name",
    )

    _invocation: "Invocation"

    def __init__(
        self,
        run_id: bytes,
        name: str,
        *,
        task_name: str = "",
        task_key: str = "",
        flow_run_id: bytes = b"",
        flow_run_name: str = "",
        parent_run_id: bytes = b"",
        tags: Iterable[str] = (),
        run_count: int = 1,
        ordinal: int = 0,
    ) -> None:
        """Describe the attempt; `run_count` is its number, from 1 (0 before the first one)."""
        self.raw_id = run_id
        self.name = name
        self.task_name = task_name
        self.task_key = task_key
        self.raw_flow_run_id = flow_run_id
        self.flow_run_name = flow_run_name
        self.raw_parent_run_id = parent_run_id
        self.tags = list(tags)
        self.run_count = run_count
        self.dynamic_key = str(ordinal)
        self.state: State[Any] | None = None
        self._started_ns = time.time_ns()

    @classmethod
    def from_invocation(cls, invocation: "Invocation") -> "TaskRun":
        """Describe the attempt that a worker is about to execute; its parts are read when asked for."""
        run = cls.__new__(cls)
        run._invocation = invocation
        run._started_ns = time.time_ns()
        run.state = None
        return run

    if not TYPE_CHECKING:  # type checkers would stop checking names of attributes

        def __getattr__(self, name: str) -> Any:
            """Read a part that was not read before."""
            read = _READERS.get(name)
            if read is None:
                raise AttributeError(f"a task run has no attribute '{name}'")
            value = read(self._invocation)
            setattr(self, name, value)
            return value

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel with everything read, and without the worker's own view of the run."""
        parts = {name: getattr(self, name) for name in self.__slots__ if name != "_invocation"}
        return _durable_names.task_run, (parts,)

    @classmethod
    def restored(cls, parts: dict[str, Any]) -> "TaskRun":
        """Return the record that was pickled."""
        run = cls.__new__(cls)
        for name, value in parts.items():
            setattr(run, name, value)
        return run

    @property
    def id(self) -> UUID:
        """The run's id, under which the command line and every other client find it."""
        return UUID(bytes=self.raw_id)

    @property
    def flow_run_id(self) -> UUID | None:
        """Id of the flow run it belongs to; None outside flows."""
        return UUID(bytes=self.raw_flow_run_id) if self.raw_flow_run_id else None

    @property
    def parent_run_id(self) -> UUID | None:
        """Id of the task run that made the call, when it was not the flow itself."""
        return UUID(bytes=self.raw_parent_run_id) if self.raw_parent_run_id else None

    @property
    def attempt(self) -> "Invocation | None":
        """The attempt as its worker sees it; None where the record was made, or restored, elsewhere."""
        found: Invocation | None = getattr(self, "_invocation", None)
        return found

    @property
    def last_heartbeat_details(self) -> Any:
        """What the attempt before this one said last with `heartbeat`; None when it said nothing.

        Kept in the control plane's memory only: it is gone when that was restarted in between.
        """
        attempt = self.attempt
        extra = attempt.extra if attempt is not None else None
        if attempt is None or extra is None or not extra.HasField("last_progress"):
            return None
        from taskyard._data.values.progress import told_details

        return told_details(extra.last_progress, attempt.template.encoding)

    @property
    def headers(self) -> Mapping[str, str]:
        """What it was submitted with for whoever observes it; empty where the record was made elsewhere."""
        attempt = self.attempt
        extra = attempt.extra if attempt is not None else None
        return dict(extra.headers) if extra is not None else NO_HEADERS

    @property
    def start_time(self) -> datetime:
        """When the attempt started, in UTC and by the clock of the machine that executes it."""
        return datetime.fromtimestamp(self._started_ns / 1e9, UTC)

    def __repr__(self) -> str:
        """Name the run and the attempt."""
        return f"TaskRun(id={str(self.id)!r}, name={self.name!r}, run_count={self.run_count})"


_READERS: Final[dict[str, "Callable[[Invocation], Any]"]] = {
    "raw_id": lambda invocation: invocation.run_id,
    "name": lambda invocation: invocation.run_name,
    "task_name": lambda invocation: invocation.template.name,
    "task_key": lambda invocation: invocation.template.task_key,
    "raw_flow_run_id": lambda invocation: invocation.flow_run_id,
    "flow_run_name": lambda invocation: invocation.flow_run_name,
    "raw_parent_run_id": lambda invocation: invocation.parent_run_id,
    "tags": lambda invocation: list(invocation.template.tags),
    "run_count": lambda invocation: invocation.attempt,
    "dynamic_key": lambda invocation: str(invocation.ordinal),
}


@public("taskyard.context")
class FlowRun:
    """What contexts, hooks and name templates see of a flow run: its call, and the attempt it is in."""

    __slots__ = (
        "_started_ns",
        "flow_name",
        "flow_version",
        "name",
        "parameters",
        "raw_id",
        "raw_parent_run_id",
        "run_count",
        "state",
        "tags",
    )

    def __init__(
        self,
        run_id: bytes,
        name: str,
        *,
        flow_name: str = "",
        flow_version: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        parent_run_id: bytes = b"",
        tags: Iterable[str] = (),
        run_count: int = 1,
    ) -> None:
        """Describe the run; `run_count` is the number of the attempt, from 1."""
        self.raw_id = run_id
        self.name = name
        self.flow_name = flow_name
        self.flow_version = flow_version
        self.parameters = dict(parameters or {})
        self.raw_parent_run_id = parent_run_id
        self.tags = list(tags)
        self.run_count = run_count
        self.state: State[Any] | None = None
        self._started_ns = time.time_ns()

    @property
    def id(self) -> UUID:
        """The run's id, under which the command line and every other client find it."""
        return UUID(bytes=self.raw_id)

    @property
    def parent_run_id(self) -> UUID | None:
        """Id of the run that called the flow; None for a flow of its own."""
        return UUID(bytes=self.raw_parent_run_id) if self.raw_parent_run_id else None

    @property
    def start_time(self) -> datetime:
        """When the attempt started, in UTC and by the clock of the machine that executes it."""
        return datetime.fromtimestamp(self._started_ns / 1e9, UTC)

    def __repr__(self) -> str:
        """Name the run and the attempt."""
        return f"FlowRun(id={str(self.id)!r}, name={self.name!r}, run_count={self.run_count})"
