"""What the code of this process waits for, for whoever says why that takes long.

Whoever begins to wait notes it here and takes the note back, which costs a tenth of a microsecond and wakes
nobody. Threads write, the network's thread looks now and then; a note of several runs may be beside notes of
single ones, because who waits for a list waits for one after the other.
"""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from taskyard._data.values.awaited import AwaitedRun

Note = tuple[Collection[AwaitedRun], object]
"""The runs, and the context of the run whose code waits; None outside of runs."""

WAITS: dict[object, Note] = {}
"""By whatever its writer has for itself. To be copied before it is gone through."""


@contextmanager
def waiting_for(runs: Collection[AwaitedRun], context: object) -> Iterator[None]:
    """Note that all of some runs are waited for, in whatever order."""
    key = object()
    try:
        WAITS[key] = runs, context
        yield
    finally:
        WAITS.pop(key, None)


def unfinished() -> dict[bytes, object]:
    """Return the runs that are waited for and have not ended, by id, each with the context of who waits."""
    return {
        run.run_id: context
        for runs, context in WAITS.copy().values()
        for run in _seen(runs)
        if run._outcome is None  # not by its property: there may be a hundred thousand
    }


def _seen(runs: Collection[AwaitedRun]) -> Collection[AwaitedRun]:
    """Return some runs as they are now; none while somebody who takes them one by one has just taken one."""
    try:
        return list(runs)
    except RuntimeError:
        return ()


os.register_at_fork(after_in_child=WAITS.clear)
"""The threads that waited are the parent's."""
