"""Where calls of tasks go: the flow run, or the task run in a worker, that this code belongs to.

Invariant: a scope belongs to one attempt of one flow run or task run; everything submitted by it carries
its ids, so the control plane knows every run's place.
"""

import os
import threading
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from taskyard._data.runs.records import FlowRun
from taskyard._network.session.session import Session, current_session
from taskyard.context import current_context

if TYPE_CHECKING:
    from taskyard._engine.thread_agent.agent import LocalRuns
    from taskyard.futures import Future
    from taskyard.task_runners import TaskRunner


class Host(Protocol):
    """What a scope needs of the worker it is in."""

    def blocked(self) -> AbstractContextManager[None]:
        """Say that the code waits for other runs meanwhile."""
        ...


class Scope:
    """The place calls are made from."""

    __slots__ = (
        "_lock",
        "_ordinals",
        "_session",
        "address",
        "flow_run_id",
        "host",
        "kept_futures",
        "local_runs",
        "log_prints",
        "parent_run_id",
        "queue",
        "task_runner",
    )

    def __init__(
        self,
        session: Session | None = None,
        flow_run_id: bytes = b"",
        parent_run_id: bytes = b"",
        *,
        log_prints: bool = False,
        queue: str = "",
        local_runs: "LocalRuns | None" = None,
        host: Host | None = None,
        keep_futures: bool = False,
        task_runner: "TaskRunner | None" = None,
    ) -> None:
        """Describe a place.

        Args:
            session: Where runs are submitted; opened with the first submission when left out.
            flow_run_id: The flow run, if there is one.
            parent_run_id: The task run that makes the calls, if it is not the flow run itself.
            log_prints: What tasks inherit that do not say it themselves.
            queue: Where runs wait; empty for what their tasks say.
            local_runs: Executes runs in this process, when the task runner is a local one.
            host: The worker, when this is one.
            keep_futures: Whether to remember every future, because all of them decide how a flow ends.
            task_runner: What flows called from here use that do not say it themselves.
        """
        self._session = session
        self.flow_run_id = flow_run_id
        self.parent_run_id = parent_run_id
        self.log_prints = log_prints
        self.queue = queue
        self.local_runs = local_runs
        self.host = host
        self.task_runner = task_runner
        self.kept_futures: list[Future[Any]] | None = [] if keep_futures else None
        self.address = os.environ.get("TASKYARD_SERVER", "")
        self._ordinals: dict[str, int] = {}
        self._lock = threading.Lock()

    @property
    def own_run_id(self) -> bytes:
        """The run whose code makes the calls."""
        return self.parent_run_id or self.flow_run_id

    @property
    def session(self) -> Session:
        """The connected session."""
        session = self._session
        if session is None:
            session = self._session = current_session(self.parent_run_id)
        return session

    def failed(self) -> bool:
        """Say whether its session can no longer be used."""
        return self._session is not None and self._session.exchange.fatal is not None

    def open_futures(self) -> "list[Future[Any]]":
        """Return the unsettled futures of what was submitted from here."""
        session = self._session
        return [] if session is None else session.open_futures(self)

    def take_ordinals(self, task_key: str, count: int = 1) -> int:
        """Number the next `count` runs of a task; returns the first number."""
        with self._lock:
            first = self._ordinals.get(task_key, 0)
            self._ordinals[task_key] = first + count
        return first


_outside = Scope()


def current_scope() -> Scope | None:
    """Return the scope of the innermost run, or None outside of runs."""
    context = current_context()
    if context is None:
        return None
    engine = context.engine
    if type(engine) is Scope:
        return engine
    # Most tasks call no other tasks, so a worker's scope is made by the first call.
    make_scope = getattr(engine, "make_scope", None)
    if make_scope is not None:
        context.engine = make_scope(context)
        return current_scope()
    run = context.run
    own_flow = b"" if isinstance(run, FlowRun) else run.raw_flow_run_id
    scope = context.engine = Scope(None, own_flow, run.raw_id, log_prints=context.log_prints, host=engine)
    return scope


def outside_scope() -> Scope:
    """Return the scope of calls that belong to no run."""
    global _outside
    address = os.environ.get("TASKYARD_SERVER", "")
    if _outside.address != address or _outside.failed():
        _outside = Scope()
    return _outside
