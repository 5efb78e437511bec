"""What tasks say of their own execution: they append to the file that EXECUTIONS names.

Every value that a task returns begins with the id of its run. So whoever gets it as an argument can say whose
it is, and the order of a graph can be checked from outside.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from chaos.storm import lines

from taskyard.runtime import task_run

Value = list[Any]
"""The id of the run that returned it, and what it returned."""


def digest_of(value: Any) -> str:
    """Return a short name of a value: values are compared by it, and some of them are large."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def note(kind: str, **fields: Any) -> None:
    """Write a line about this process."""
    lines.append(os.environ["EXECUTIONS"], at=time.time(), kind=kind, pid=os.getpid(), **fields)


class Execution:
    """One execution of a run's code."""

    def __init__(self, inputs: Sequence[Value]) -> None:
        """Say that it has begun."""
        self.run = (task_run.id or "").replace("-", "")
        self.attempt = task_run.run_count
        self.epoch = _epoch()
        given = {value[0]: digest_of(value) for value in inputs}
        self.note("given", attempt=self.attempt, inputs=given, agent=os.environ.get("STORM_AGENT", ""))

    def note(self, kind: str, **fields: Any) -> None:
        """Write a line about this execution."""
        note(kind, run=self.run, epoch=self.epoch, **fields)

    def returns(self, *value: Any) -> Value:
        """Return a value of this run."""
        return [self.run, *value]


@contextmanager
def execution(inputs: Sequence[Value] = (), milliseconds: float = 0.0) -> Iterator[Execution]:
    """Note the beginning and the end of what happens inside; a process that is killed notes no end."""
    own = Execution(inputs)
    try:
        time.sleep(milliseconds / 1000)
        yield own
    except Exception:
        own.note("ended", how="failed")
        raise
    own.note("ended", how="succeeded")


def _epoch() -> int:
    """Return the epoch of the attempt that this code belongs to: its worker knows it, users need not."""
    frame: Any = sys._getframe()
    while frame is not None:
        epoch = getattr(frame.f_locals.get("invocation"), "epoch", None)
        if epoch is not None:
            return int(epoch)
        frame = frame.f_back
    return 0
