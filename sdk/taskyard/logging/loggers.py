"""Loggers of runs, and where their records go.

Every record of a run goes two ways: to the handlers of Taskyard's loggers (the console) and to the
sink in the run's context (the control plane). Which run it is travels with the logger, so that code in
threads of its own may use it too.
"""

import logging
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import Context, copy_context
from time import time_ns
from typing import TYPE_CHECKING, Any, Final, ParamSpec

from taskyard import settings
from taskyard._data.runs.records import FlowRun, TaskRun
from taskyard._missing_features import absent_names
from taskyard.context import RunContext, current_context, get_run_context
from taskyard.exceptions import MissingContextError
from taskyard.logging.formatters import ConsoleHandler

P = ParamSpec("P")

ROOT: Final = "taskyard"
FLOW_RUNS: Final = "taskyard.flow_runs"
TASK_RUNS: Final = "taskyard.task_runs"
MAX_MESSAGE: Final = 32 * 1024
"""Longer messages are cut before they are sent; the console shows them whole."""


class RunLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger whose records belong to one run."""

    def __init__(self, context: RunContext, extra: dict[str, Any]) -> None:
        """Log for the run of `context`; `extra` is added to every record."""
        run = context.run
        is_task = isinstance(run, TaskRun)
        names = _task_extra(run) if isinstance(run, TaskRun) else _flow_extra(run.name, str(run.id))
        super().__init__(
            logging.getLogger(TASK_RUNS if is_task else FLOW_RUNS), {**names, **extra, "run_context": context}
        )

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Add the run's names to what the caller adds."""
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


def _task_extra(run: TaskRun) -> dict[str, Any]:
    flow_run_id = run.flow_run_id
    return {
        "task_run_name": run.name,
        "task_run_id": str(run.id),
        "task_name": run.task_name,
        **_flow_extra(run.flow_run_name, str(flow_run_id) if flow_run_id else ""),
    }


def _flow_extra(name: str, run_id: str) -> dict[str, Any]:
    return {"flow_run_name": name, "flow_run_id": run_id}


def get_logger(name: str = "") -> logging.Logger:
    """Return a logger of Taskyard's, below ``taskyard``."""
    if not name or name == ROOT or name.startswith(f"{ROOT}."):
        return logging.getLogger(name or ROOT)
    return logging.getLogger(f"{ROOT}.{name}")


def get_run_logger(context: RunContext | None = None, **extra: Any) -> logging.LoggerAdapter[logging.Logger]:
    """Return the logger of the current run.

    Args:
        context: The run to log for, when it is not the current one.
        **extra: Attributes to add to every record.

    Raises:
        MissingContextError: No run is active here, and no `disable_run_logger` around.
    """
    configure()
    if context is None and current_context() is None and _are_disabled():
        return logging.LoggerAdapter(_of_task_runs, extra)
    return RunLogger(context or get_run_context(), extra)


def flow_run_logger(flow_run: FlowRun, flow: object = None, **extra: Any) -> RunLogger:
    """Return the logger of a flow run that is active here, for hooks: they are called with the run.

    What the last hooks of a flow log, once it has ended, is shown and not recorded.

    Args:
        flow_run: The run.
        flow: Plays no role, the run knows its flow. Programs written for Prefect name it.
        **extra: Attributes to add to every record.

    Raises:
        MissingContextError: The run is not active here, so that nothing would take the records.
    """
    return _logger_of(flow_run, extra)


def task_run_logger(task_run: TaskRun, task: object = None, **extra: Any) -> RunLogger:
    """Return the logger of a task run that is active here, for hooks, like `flow_run_logger`.

    Args:
        task_run: The run.
        task: Plays no role, as above.
        **extra: Attributes to add to every record.

    Raises:
        MissingContextError: The run is not active here.
    """
    return _logger_of(task_run, extra)


def _logger_of(run: TaskRun | FlowRun, extra: dict[str, Any]) -> RunLogger:
    configure()
    context = current_context()
    while context is not None and context.run.raw_id != run.raw_id:
        context = context.outer
    if context is None:
        raise MissingContextError(
            f"run '{run.name}' is not active here, so nothing takes what is logged for it; call this in the"
            " run, or in a hook of it"
        )
    return RunLogger(context, extra)


@contextmanager
def disable_run_logger() -> Iterator[None]:
    """Drop what runs log inside the block, and have `get_run_logger` return a logger outside of runs, too.

    For tests that call the bare function of a task: ``with disable_run_logger(): task.fn(1)``.
    """
    loggers = [logging.getLogger(FLOW_RUNS), _of_task_runs]
    before = [logger.disabled for logger in loggers]
    try:
        for logger in loggers:
            logger.disabled = True
        yield
    finally:
        for logger, was in zip(loggers, before, strict=True):
            logger.disabled = was


def _are_disabled() -> bool:
    return _of_task_runs.disabled and logging.getLogger(FLOW_RUNS).disabled


class SinkHandler(logging.Handler):
    """Hands records of runs to the sink of their run."""

    def emit(self, record: logging.LogRecord) -> None:
        """Hand on a record of a run that has a sink; others are none of its business, and what the control
        plane has `recorded` itself is there already.
        """
        context: RunContext | None = getattr(record, "run_context", None)
        if context is None or context.log_sink is None or getattr(record, "recorded", False):
            return
        try:
            run = context.run
            at_us = int(record.created * 1_000_000)
            context.log_sink((run.raw_id, at_us, record.levelno, record.name, _text(record), run.name))
        except Exception:  # logging must not break the program; logging reports this its own way
            self.handleError(record)


def _text(record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.exc_info:
        text = f"{text}\n{_plain.formatException(record.exc_info)}"
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}... (cut)"


_plain: Final = logging.Formatter()
_of_task_runs: Final = logging.getLogger(TASK_RUNS)
_console: Final = ConsoleHandler()
_sink: Final = SinkHandler()


def configure(console: bool = True) -> None:
    """Install the handlers, once. Does not touch what the program has set up itself.

    Args:
        console: Whether records are shown on standard error; workers only send them. The first call
            decides.
    """
    root = logging.getLogger(ROOT)
    if _sink in root.handlers:
        return
    if console and not root.handlers:
        root.addHandler(_console)
        # Otherwise a root logger that the program configured would show every line a second time.
        root.propagate = False
    root.addHandler(_sink)
    if root.level == logging.NOTSET:
        root.setLevel(settings.log_level())


def wants_all() -> bool:
    """Say whether records of the level DEBUG are wanted of runs."""
    configure()
    return wants_completions() or logging.getLogger(FLOW_RUNS).isEnabledFor(logging.DEBUG)


def wants_completions() -> bool:
    """Say whether it is to be said of task runs that they completed.

    A tenth of a microsecond, so it is asked for each run: programs change levels between two of them.
    """
    return _of_task_runs.isEnabledFor(logging.DEBUG)


def show(run_name: str, at_us: int, level: int, message: str, source: str = TASK_RUNS) -> None:
    """Show a record that another process wrote, as if it had been written here.

    Args:
        run_name: The run it belongs to.
        at_us: When it was written, microseconds since the epoch.
        level: Its numeric level.
        message: Its text.
        source: The logger it was written to.
    """
    configure()
    if _shown.end_line is not None:
        _shown.end_line()
    flow = source.endswith("flow_runs")
    logger = logging.getLogger(FLOW_RUNS if flow else TASK_RUNS)
    if not logger.isEnabledFor(level):
        return
    record = logger.makeRecord(logger.name, level, "(another process)", 0, message, (), None)
    record.created = at_us / 1_000_000
    record.msecs = at_us % 1_000_000 // 1000
    setattr(record, "flow_run_name" if flow else "task_run_name", run_name)
    logger.handle(record)


class _Shown:
    place: Context | None = None
    end_line: Callable[[], None] | None = None
    """Ends the line that output of another process has begun, if any has."""


_shown: Final = _Shown()


def show_as_from_here() -> None:
    """Show what other processes write from now on as if this code had written it.

    Notebooks show what a background thread writes under the cell that the thread was started in, unless it is
    in the context of another one.
    """
    _shown.place = copy_context()


def show_from_here(run_name: str, level: int, message: str, *, flow: bool = False) -> None:
    """Show what this process has to say of a run that it waits for, where code that waits shows its records.

    Args:
        run_name: The run; empty when it is about several.
        level: Its numeric level.
        message: Its text.
        flow: Whether the run is a flow run.
    """
    place = _shown.place.copy() if _shown.place is not None else copy_context()
    place.run(show, run_name, time_ns() // 1000, level, message, FLOW_RUNS if flow else TASK_RUNS)


def end_lines_by(end_line: Callable[[], None]) -> None:
    """Have this called before a record of another process is shown."""
    _shown.end_line = end_line


def in_shown_place(call: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Call what shows something of other processes, in the context that shows it."""
    if _shown.place is None:
        call(*args, **kwargs)
    else:
        _shown.place.copy().run(call, *args, **kwargs)


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
