"""A word from inside a task that it goes on, and how far it is."""

import time
from typing import Any

from taskyard._data.values.progress import details_of
from taskyard.context import TaskRunContext
from taskyard.exceptions import MissingContextError
from taskyard_api.v1 import agent_service_pb2 as pb


def heartbeat(details: Any = None) -> None:
    """Say that the current task run goes on, and how far it is.

    May be called as often as one likes: a few words a second are sent, the newest wins. A task with
    `heartbeat_timeout` that says nothing for so long is ended. What was said last is shown to people, and
    the next attempt, if there is one, finds it as ``taskyard.runtime.task_run.last_heartbeat_details``; a
    control plane that is restarted in between forgets it.

    Args:
        details: Anything that JSON holds, or, in tasks that Python programs call, anything that can be
            pickled. At most 64 KiB.

    Raises:
        MissingContextError: No task is being executed here.
        NotSerializable: The details cannot travel.
        PayloadTooLarge: They are too large.
    """
    context = TaskRunContext.get()
    attempt = context.task_run.attempt if context is not None else None
    if context is None or attempt is None:
        raise MissingContextError(
            "heartbeat() is for tasks while they run: call it inside a function with @task"
        )
    tell = getattr(context.host, "heartbeat", None)
    if tell is None:
        return  # a worker of another release, or one of a test
    key = pb.RunKey(run_id=attempt.run_id, epoch=attempt.epoch)
    payload = details_of(details, attempt.template.encoding)
    tell(pb.RunProgress(key=key, details=payload, at_us=time.time_ns() // 1000))
