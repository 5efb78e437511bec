"""Where calls of tasks go: the flow run, or the task run in a worker, that this code belongs to.

Invariant: a scope belongs to one attempt of one flow run or task run; everything submitted by it carries
its ids, so the control plane knows every run's place.
"""

import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from taskyard import settings
from taskyard._data.runs.records import FlowRun
from taskyard._data.values.awaited import AwaitedRun, Host
from taskyard._data.values.headers import NO_HEADERS
from taskyard._data.values.kept import Dropped
from taskyard._data.values.known_results import KnownResults
from taskyard._engine.definitions.flow_options import Code
from taskyard._engine.submission.ports import Counted, EarlierRuns, LocalExecutor, Service, Submitter
from taskyard._network.session.session import Session
from taskyard._network.session.sessions import current_session, session_of_flow_run
from taskyard.context import RunContext, current_context
from taskyard.logging import wants_all
from taskyard_api.v1 import common_pb2, run_service_pb2
from taskyard_contract.capabilities import RECORDED_EDGES

if TYPE_CHECKING:
    from taskyard._engine.results.inheriting import Inherited


class Scope:
    """The place calls are made from."""

    __slots__ = (
        "_flow_keys",
        "_lock",
        "_ordinals",
        "_session",
        "_skipped",
        "address",
        "assets",
        "call_gives_future",
        "caller_run_id",
        "code",
        "earlier",
        "executor",
        "flow_run_id",
        "headers",
        "host",
        "inherited",
        "kept_futures",
        "known",
        "latest_map",
        "log_prints",
        "numbered_by",
        "queue",
        "speaks",
        "submitter",
        "task_runner",
    )

    def __init__(
        self,
        session: Session | None = None,
        flow_run_id: bytes = b"",
        caller_run_id: bytes = b"",
        *,
        log_prints: bool = False,
        queue: str = "",
        executor: LocalExecutor | None = None,
        host: Host | None = None,
        keep_futures: bool = False,
        task_runner: object = None,
        headers: Mapping[str, str] = NO_HEADERS,
        code: Code = (),
        inherited: "Inherited | None" = None,
        call_gives_future: bool = False,
    ) -> None:
        """Describe a place.

        Args:
            session: Where runs are submitted; opened with the first submission when left out.
            flow_run_id: The flow run, if there is one.
            caller_run_id: The task run that makes the calls, if it is not the flow run itself.
            log_prints: What tasks inherit that do not say it themselves.
            queue: Where runs wait; empty for what their tasks say.
            executor: Executes runs in this process, when the task runner is a local one.
            host: The worker, when this is one.
            keep_futures: Whether to remember every run, because all of them decide how a flow ends.
            task_runner: What flows called from here use that do not say it themselves.
            headers: Those of the run that makes the calls, which its own runs have too.
            code: What the flow says of the code of its tasks; `inherited`: what is said of results.
            call_gives_future: Whether a call of a task returns the future of its run, not its value.
        """
        self._session = session
        self.flow_run_id = flow_run_id
        self.caller_run_id = caller_run_id
        self.log_prints = log_prints
        self.queue = queue
        self.executor = executor
        self.host, self.task_runner = host, task_runner
        self.submitter = _submitter(task_runner)
        self.call_gives_future = call_gives_future
        self.headers = headers
        self.code = code
        self.inherited = inherited
        self.earlier: EarlierRuns | None = None  # as nearly always
        self.kept_futures: list[Counted] | None = [] if keep_futures else None
        self.known: KnownResults | None = None
        self.address = settings.server()
        self.numbered_by: Scope | None = None
        """The scope whose numbers it takes, if it has none of its own."""
        self.assets: Any = None  # what results carry along, see `passing_assets`
        self.latest_map = ""
        """Name of the task that was mapped last, for people who look on."""
        self.speaks = bool(flow_run_id or caller_run_id) and wants_all()
        """Whether it is said of each run that it was created and submitted: looked up once, for thousands."""
        self._ordinals: dict[str, int] = {}
        self._skipped: dict[str, int] = {}
        self._flow_keys: set[str] = set()
        self._lock = threading.Lock()

    def served_by(self, service: Service, task_runner: object = None) -> "Scope":
        """Return the same place for calls that others execute, and for whose ends this one does not wait.

        A generator ends when its caller is done with it, which may be after the run that called it.

        Args:
            service: Who executes them.
            task_runner: The task runner that these calls go to; this place's own when left out.
        """
        scope = Scope(
            self.session,
            self.flow_run_id,
            self.caller_run_id,
            log_prints=self.log_prints,
            queue=service.queue,
            executor=service.executor,
            host=self.host,
            task_runner=task_runner or self.task_runner,
            headers=self.headers,
            code=self.code,
            inherited=self.inherited,
        )
        scope.kept_futures = self.kept_futures
        scope.earlier = self.earlier
        scope.known = self.known
        scope.numbered_by = self.numbered_by or self
        scope._ordinals, scope._lock, scope._flow_keys = self._ordinals, self._lock, self._flow_keys
        scope._skipped = self._skipped
        return scope

    @property
    def own_run_id(self) -> bytes:
        """The run whose code makes the calls."""
        return self.caller_run_id or self.flow_run_id

    @property
    def session(self) -> Session:
        """Where runs are submitted; opened by the first call, which may start a local yard."""
        session = self._session
        if session is None:
            session = self._session = current_session(self.caller_run_id)
        return session

    def failed(self) -> bool:
        """Say whether its session can no longer be used."""
        return self._session is not None and self._session.failed

    def open_futures(self) -> list[AwaitedRun]:
        """Return the runs that were submitted from here and have not ended."""
        session = self._session
        return [] if session is None else session.outstanding_of(self)

    def close(self) -> None:
        """End its session, if that is one of its own: `_scope_of`."""
        if self._session is not None and not self.caller_run_id:
            self._session.close()

    def fetch(self, ref: common_pb2.BlobRef) -> bytes | memoryview:
        """Read a blob of the control plane."""
        return self.session.fetch(ref)

    def read_again(self, run: AwaitedRun, dropped: Dropped) -> AwaitedRun:
        """Ask for an outcome that was dropped; what is returned is settled by it."""
        return self.session.read_again(run, dropped)

    def record(self, run_id: bytes) -> run_service_pb2.Run:
        """Read what is recorded of a run now."""
        return self.session.client().get_run(run_id)

    def cancel(self, run_id: bytes) -> None:
        """Request the end of a run."""
        self.session.cancel([run_id])

    def take_ordinals(self, task_key: str, count: int = 1) -> int:
        """Number the next `count` runs of a task; returns the first number."""
        with self._lock:
            first = self._ordinals.get(task_key, 0)
            self._ordinals[task_key] = first + count
        return first

    def go_on_after(self, numbers: Mapping[str, int]) -> None:
        """Number runs of tasks from these numbers on, or from where it is if that is further."""
        with self._lock:
            for task_key, number in numbers.items():
                before = self._ordinals.get(task_key, 0)
                if number > before:
                    self._ordinals[task_key] = number
                    self._skipped[task_key] = self._skipped.get(task_key, 0) + number - before

    def next_ordinal(self, task_key: str) -> int:
        """Return the number that the next run of a task gets."""
        with self._lock:
            return self._ordinals.get(task_key, 0)

    def skip_ordinal(self, task_key: str) -> int:
        """Take a number of a task that no run gets."""
        with self._lock:
            skipped = self._ordinals.get(task_key, 0)
            self._ordinals[task_key] = skipped + 1
            self._skipped[task_key] = self._skipped.get(task_key, 0) + 1
        return skipped

    def carried(self, make: Callable[[], Any]) -> Any:
        """Return what results of this place carry along; made when somebody asks first."""
        root = self.numbered_by or self
        with root._lock:
            if root.assets is None:
                root.assets = make()
        return root.assets

    def take_flow_ordinal(self, task_key: str) -> int:
        """Number the next run of a flow: nobody waits for it as for a task run."""
        self._flow_keys.add(task_key)
        return self.take_ordinals(task_key)

    def note_sources(self, upstream: dict[bytes, int], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Add the runs whose values are passed on in a call to those it depends on: for the record."""
        known = self.known
        if known is not None and known.known and RECORDED_EDGES in self.session.capabilities:
            known.add_to(upstream, args, kwargs)

    def submitted(self) -> int:
        """Return how many task runs were submitted from here, or are about to be."""
        with self._lock:
            return sum(
                count - self._skipped.get(key, 0)
                for key, count in self._ordinals.items()
                if key not in self._flow_keys
            )


def _submitter(task_runner: object) -> Submitter | None:
    """Return a task runner if it does something of its own with calls."""
    return cast(Submitter, task_runner) if getattr(task_runner, "takes_calls", False) else None


_outside = Scope()


def current_scope() -> Scope | None:
    """Return the scope of the innermost run, or None outside of runs."""
    context = current_context()
    if context is None:
        return None
    scope = context.scope
    if scope is None:
        scope = context.scope = _scope_of(context)
    return cast(Scope, scope)


def _scope_of(context: RunContext) -> Scope:
    """Make the scope of a run in a worker: at the first call, because most tasks call no other tasks.

    That of a flow run has a session of its own, which `close` ends.
    """
    make_scope: Callable[[RunContext], Scope] | None = getattr(context.host, "make_scope", None)
    if make_scope is not None:
        return make_scope(context)  # this process executes what is called here as well
    run = context.run
    is_flow = isinstance(run, FlowRun)  # one of another process, whose context was taken along
    return Scope(
        session_of_flow_run(run.raw_id) if is_flow else None,
        run.raw_id if isinstance(run, FlowRun) else run.raw_flow_run_id,
        b"" if is_flow else run.raw_id,
        log_prints=context.log_prints,
        host=context.host,
        headers=context.headers,
        inherited=inherited_now(),
    )


def outside_scope() -> Scope:
    """Return the scope of calls that belong to no run."""
    global _outside
    address, inherited = settings.server(), inherited_now()
    if _outside.address != address or _outside.failed() or _outside.inherited != inherited:
        _outside = Scope(inherited=inherited)
    return _outside


def inherited_now() -> "Inherited | None":
    """Return what settings say of results; None, as nearly always, for nothing."""
    if settings.results() is None:
        return None
    from taskyard._engine.results.inheriting import inherited_from_settings

    return inherited_from_settings()
