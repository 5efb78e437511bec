"""Recognises futures and states by what they can do, so that pure modules need not import the engine."""

from typing import Any, Protocol, TypeGuard

from taskyard._data.runs.state import State


class FutureLike(Protocol):
    """What pure code needs of a future."""

    @property
    def state(self) -> State[Any]:
        """The state known now."""
        ...

    def wait(self, timeout: float | None = None) -> object:
        """Wait for the end of the run."""
        ...

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        """Wait for the result."""
        ...


def is_future(value: object) -> TypeGuard[FutureLike]:
    """Say whether a value is a future of one run.

    Looks at the type, not at the value: objects that answer to every attribute (mocks, proxies) and
    properties with a cost are left alone.
    """
    kind = type(value)
    if hasattr(kind, "__iter__"):  # a list of futures is not one itself
        return False
    return hasattr(kind, "task_run_id") and hasattr(kind, "wait") and hasattr(kind, "result")


def future_id(future: object) -> str:
    """Return the id of a future's run, for messages."""
    for name in ("task_run_id", "flow_run_id"):
        run_id = getattr(future, name, None)
        if run_id is not None:
            return run_id.hex() if isinstance(run_id, bytes) else str(run_id)
    return "unknown"
