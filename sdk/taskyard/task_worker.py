"""Serving tasks: a program that executes deferred runs of its own tasks, beside agents or instead of them.

from taskyard.task_worker import serve

serve(send_email, resize, limit=20)
"""

from collections.abc import Awaitable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from taskyard._durable_names import public
from taskyard._engine.task_worker.worker import DEFAULT_LIMIT, TaskWorker
from taskyard._missing_features import absent_names

if TYPE_CHECKING:
    from taskyard.tasks import Task

__all__ = ["StopTaskWorker", "TaskWorker", "aserve", "serve"]


@public("taskyard.task_worker")
class StopTaskWorker(Exception):
    """For programs that catch it around a task worker. Nothing raises it here: to be stopped is no error."""


async def aserve(
    *tasks: "Task[..., Any]",
    limit: int | None = DEFAULT_LIMIT,
    status_server_port: int | None = None,
    timeout: float | None = None,
) -> None:
    """Serve tasks in the event loop that is running; see `serve`. Cancelling it stops it in good order.

    Args:
        *tasks: The tasks.
        limit: How many runs are executed at the same time; None for any number.
        status_server_port: Where ``GET /status`` is answered, on 127.0.0.1; None for nowhere.
        timeout: For how many seconds to serve; None for as long as nobody stops it.

    Raises:
        ValueError, TypeError: See `serve`.
        OSError: Somebody else has the port.
        TaskyardError: The control plane cannot be reached, or does not take this program.
    """
    worker = TaskWorker(*tasks, limit=limit)
    with _told(worker, status_server_port):
        await worker.astart(timeout)


def serve(
    *tasks: "Task[..., Any]",
    limit: int | None = DEFAULT_LIMIT,
    status_server_port: int | None = None,
    timeout: float | None = None,
) -> Awaitable[None] | None:
    """Serve tasks: execute their deferred runs in this program, until it is stopped.

    SIGTERM and Ctrl-C stop it: it takes nothing more and returns when what executes has ended, or after 30
    seconds, and what has not ended is given to others. A second signal cuts that short. In a running event
    loop it returns what has to be awaited, as `aserve` does.

    Args:
        *tasks: The tasks; runs of others are left alone.
        limit: How many runs are executed at the same time, of all tasks together; None for any number.
        status_server_port: Where ``GET /status`` is answered, on 127.0.0.1; None for nowhere.
        timeout: For how many seconds to serve; None for as long as nobody stops it.

    Raises:
        ValueError: There is no task, one that other programs have no name for, or a limit below 1.
        TypeError: Something is no task whose function is here, or the limit is no number.
        OSError: Somebody else has the port.
        TaskyardError: The control plane cannot be reached, or does not take this program.
    """
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        worker = TaskWorker(*tasks, limit=limit)
        with _told(worker, status_server_port):
            worker.start(timeout)
        return None
    return aserve(*tasks, limit=limit, status_server_port=status_server_port, timeout=timeout)


def _told(worker: TaskWorker, port: int | None) -> Any:
    if port is None:
        return nullcontext()
    from taskyard._engine.task_worker.status import status_server

    return status_server(worker.status, port)


if not TYPE_CHECKING:  # type checkers would stop checking names
    __getattr__ = absent_names(__name__)
