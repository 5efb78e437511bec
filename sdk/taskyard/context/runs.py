"""The run that the current code belongs to.

One context variable holds the innermost run; each context remembers the one around it. Entering costs
one read and one write of that variable, because every task run pays for it; everything that is not
always needed (ids as UUIDs, parameters by name) is made when it is asked for.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from datetime import datetime
from typing import Any, Final, Self, TypeVar
from uuid import UUID

from taskyard._data.runs.records import FlowRun, TaskRun
from taskyard._data.values.awaited import Host, Origin
from taskyard._data.values.headers import NO_HEADERS, merged
from taskyard._durable_names import public
from taskyard.exceptions import MissingContextError
from taskyard_contract.log_entry import LogSink

Parameters = Mapping[str, Any] | Callable[[], Mapping[str, Any]]
C = TypeVar("C", bound="RunContext")

_current: Final[ContextVar["RunContext | None"]] = ContextVar("taskyard_run", default=None)
_tags: Final[ContextVar[frozenset[str]]] = ContextVar("taskyard_tags", default=frozenset())
_headers: Final[ContextVar[Mapping[str, str]]] = ContextVar("taskyard_headers", default=NO_HEADERS)
active_transaction: Final[ContextVar[Any]] = ContextVar("taskyard_transaction", default=None)
"""The innermost open transaction; `taskyard.transactions.get_transaction` reads it for users."""

current_context = _current.get
"""Returns the innermost run's context, or None. A bare method of the variable: hot code calls it."""
current_tags = _tags.get
"""Returns the tags of all enclosing `tags` blocks. Hot, too."""
current_headers = _headers.get
"""Returns the headers of all enclosing `headers` blocks, without those that runs have inherited. Hot, too."""
current_transaction = active_transaction.get
"""Returns the innermost open transaction, or None. Hot, too."""


def transaction_here() -> Any:
    """Return the transaction that what is called here is part of, or None: one may have been left already."""
    around = current_transaction()
    return None if around is None else around.get_active()


@public("taskyard.context")
class RunContext:
    """What flow runs and task runs have in common. A context manager, entered at most once at a time."""

    __slots__ = (
        "_parameters",
        "_token",
        "host",
        "log_prints",
        "log_sink",
        "outer",
        "print_buffer",
        "scope",
        "unfinished",
    )

    def __init__(
        self,
        parameters: Parameters = {},  # noqa: B006  # never written to
        log_prints: bool = False,
        log_sink: LogSink | None = None,
        host: Host | None = None,
        scope: Origin | None = None,
    ) -> None:
        """Describe a run.

        Args:
            parameters: Arguments by name, or what makes them when they are asked for.
            log_prints: Whether printed lines become log records.
            log_sink: Receives the run's log records.
            host: The worker that executes it, where that is one.
            scope: Where calls made by it go; made by the first call when left out.
        """
        self._parameters = parameters
        self._token: Token[RunContext | None] | None = None
        self.host = host
        self.scope = scope
        self.log_prints = log_prints
        self.log_sink = log_sink
        self.outer: RunContext | None = None
        self.print_buffer = ""
        self.unfinished: Callable[[], None] | None = None
        """Ends what was begun in this context and is not whole yet, a line that was printed in part."""

    def __enter__(self) -> Self:
        """Make this the current run, inside the one that was; calls and logs belong to it from here on."""
        self.outer = _current.get()
        self._token = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        """Give way to the run around this one."""
        finish, self.unfinished = self.unfinished, None  # it names this context: a circle, if it stayed
        if finish is not None:
            finish()
        if self._token is not None:
            _current.reset(self._token)
            self._token = None

    @classmethod
    def get(cls) -> Self | None:
        """Return the innermost active context of this kind, or None."""
        context = _current.get()
        while context is not None and not isinstance(context, cls):
            context = context.outer
        return context

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The run's arguments by name, defaults included."""
        if callable(self._parameters):
            self._parameters = self._parameters()
        return self._parameters

    @property
    def run(self) -> "TaskRun | FlowRun":
        """What is recorded of the run: a task run's or a flow run's."""
        raise NotImplementedError  # each kind of context has its own

    @property
    def headers(self) -> Mapping[str, str]:
        """What the run was submitted with for whoever observes it; its own runs have it too."""
        raise NotImplementedError  # each kind of context has its own

    @property
    def flow_run_id(self) -> UUID | None:
        """The flow run all this happens in; None outside flows."""
        raise NotImplementedError  # each kind of context has its own


@public("taskyard.context")
class TaskRunContext(RunContext):
    """A task run, as its function and `cache_key_fn` see it."""

    __slots__ = ("asset_metadata", "own_transaction", "task", "task_run")

    asset_metadata: Any
    """What `taskyard.assets.add_asset_metadata` has added, by key; not set before."""
    own_transaction: Any
    """That of the run itself; not set before somebody asks for it."""

    def __init__(
        self,
        task: Any,
        task_run: TaskRun,
        parameters: Parameters = {},  # noqa: B006  # never written to
        *,
        log_prints: bool = False,
        log_sink: LogSink | None = None,
        host: Host | None = None,
        scope: Origin | None = None,
    ) -> None:
        """Describe a task run; see `RunContext` for the rest."""
        super().__init__(parameters, log_prints, log_sink, host, scope)
        self.task = task
        self.task_run = task_run

    @property
    def run(self) -> TaskRun:
        """The task run, under the name that both kinds of context have."""
        return self.task_run

    @property
    def headers(self) -> Mapping[str, str]:
        """What the run was submitted with for whoever observes it; its own runs have it too."""
        return self.task_run.headers

    @property
    def task_run_id(self) -> UUID:
        """The id that its future, and its record, have."""
        return self.task_run.id

    @property
    def flow_run_id(self) -> UUID | None:
        """Id of the flow run that the task run belongs to; None outside flows."""
        return self.task_run.flow_run_id

    @property
    def start_time(self) -> datetime:
        """When this attempt started, by the clock of its worker; earlier attempts do not count."""
        return self.task_run.start_time


@public("taskyard.context")
class FlowRunContext(RunContext):
    """A flow run, as its function sees it."""

    __slots__ = ("_headers", "flow", "flow_run", "keep_rollbacks", "task_runner")

    def __init__(
        self,
        flow: Any,
        flow_run: FlowRun,
        parameters: Parameters = {},  # noqa: B006  # never written to
        *,
        task_runner: Any = None,
        log_prints: bool = False,
        log_sink: LogSink | None = None,
        host: Host | None = None,
        scope: Origin | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> None:
        """Describe a flow run; see `RunContext` for the rest."""
        super().__init__(parameters, log_prints, log_sink, host, scope)
        self.flow = flow
        self.flow_run = flow_run
        self.task_runner = task_runner
        self.keep_rollbacks: Callable[[Any], Any] | None = None
        """Makes what keeps the hooks of an outermost transaction, should this process be lost."""
        self._headers = headers

    @property
    def run(self) -> FlowRun:
        """The flow run, under the name that both kinds of context have."""
        return self.flow_run

    @property
    def headers(self) -> Mapping[str, str]:
        """What the run was submitted with for whoever observes it; its own runs have it too."""
        return self._headers

    @property
    def flow_run_id(self) -> UUID:
        """The id that its record has, and that its task runs name."""
        return self.flow_run.id

    @property
    def start_time(self) -> datetime:
        """When this attempt started, by the clock of this process; earlier attempts do not count."""
        return self.flow_run.start_time


EngineContext = FlowRunContext
"""The same class, under another name that programs know."""


@public("taskyard.context")
class TagsContext:
    """The tags of all enclosing `tags` blocks, as an object; entered, it puts its own in their place."""

    def __init__(self, current_tags: Iterable[str] = ()) -> None:
        """Hold some tags."""
        self.current_tags = frozenset(current_tags)
        self._token: Token[frozenset[str]] | None = None

    @classmethod
    def get(cls) -> "TagsContext":
        """Return what is active here, which may be no tags."""
        return cls(_tags.get())

    def __enter__(self) -> Self:
        """Have these tags, and no others, on every run that is made from here on."""
        self._token = _tags.set(self.current_tags)
        return self

    def __exit__(self, *_: object) -> None:
        """Have those again that were active before."""
        if self._token is not None:
            _tags.reset(self._token)
            self._token = None


def get_run_context() -> TaskRunContext | FlowRunContext:
    """Return the context of the innermost run.

    Raises:
        MissingContextError: No run is active here.
    """
    context = _current.get()
    if isinstance(context, (TaskRunContext, FlowRunContext)):
        return context
    raise MissingContextError(
        "there is no active flow or task run here; call this inside a function decorated with @flow or @task "
        "while it runs"
    )


def begin_anew() -> None:
    """Forget runs, tags and the like around this code, in the current context: it is to run as in a worker.

    A decimal context is a value of such a variable, too, and one that is changed in place.
    """
    _current.set(None)
    _tags.set(frozenset())
    _headers.set(NO_HEADERS)
    active_transaction.set(None)
    decimal = sys.modules.get("decimal")
    if decimal is not None:
        decimal.setcontext(decimal.getcontext().copy())


@contextmanager
def tags(*new_tags: str) -> Iterator[frozenset[str]]:
    """Add tags to every run that is made inside the block.

    Args:
        *new_tags: The tags.

    Yields:
        All tags active inside, those of outer blocks included.
    """
    active = _tags.get() | frozenset(new_tags)
    token = _tags.set(active)
    try:
        yield active
    finally:
        _tags.reset(token)


@contextmanager
def headers(new_headers: Mapping[str, str] = NO_HEADERS, /, **named: str) -> Iterator[Mapping[str, str]]:
    """Add headers to every run that is made inside the block, and to the runs that these make.

    Headers are for what observes runs and is none of their arguments: ``with headers(traceparent=...)``.

    Args:
        new_headers: By name, as a tracer's carrier has them.
        **named: The same, for names that are identifiers.

    Yields:
        All headers active inside, those of outer blocks included.

    Raises:
        TypeError: One is no text.
        ValueError: One has no printable name, or all together are longer than 1 KiB.
    """
    active = merged(_headers.get(), {**new_headers, **named})
    token = _headers.set(active)
    try:
        yield active
    finally:
        _headers.reset(token)
