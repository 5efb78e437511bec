"""Attempts of flow runs that are not the first: what they take over, and what they reuse.

A retry in the same process and the resumption of a run by another one differ in who makes the attempt. What
the body finds done is the same: every call of it that has completed.
"""

import threading
from contextlib import ExitStack
from typing import Final, NamedTuple

from taskyard._engine.resuming.calls import EarlierCalls
from taskyard._engine.resuming.reusing import ChangedCode, Remembered, Reusing
from taskyard._engine.submission.scope import Scope
from taskyard._network.session.session import Session
from taskyard.exceptions import RunNotResumable, TaskyardError
from taskyard.logging import get_logger

_taken: Final[set[bytes]] = set()
"""The runs that this process has taken over and executes: to the control plane it is one session."""
_taking = threading.Lock()


class Again(NamedTuple):
    """A flow run that is executed once more."""

    run_id: bytes
    name: str
    attempt: int
    """The attempt that it ended in."""
    changed_code: ChangedCode = "reuse"
    completed: bool = False
    """Whether it may have completed."""

    def take_over(self, session: Session, stack: ExitStack) -> int:
        """Let a session have the run until `stack` ends; returns the attempt that it makes.

        Raises:
            RunNotResumable: Somebody else has it, or has resumed it meanwhile.
        """
        with _taking:
            if self.run_id in _taken:
                raise RunNotResumable(
                    f"flow run '{self.name}' was resumed in this process already, and has not ended",
                    run_id=self.run_id,
                )
            _taken.add(self.run_id)
        stack.callback(_taken.discard, self.run_id)
        client = session.open().client()
        return client.resume_run(self.run_id, session.session_id, self.attempt, completed=self.completed)


def first_attempt(scope: Scope, retries: int) -> None:
    """Remember what a flow calls whose own process executes it, if it may be repeated."""
    if retries and scope.executor is not None:
        remembered = Remembered()
        scope.earlier = Reusing(EarlierCalls(()), remembered=remembered)


def next_attempt(scope: Scope, changed_code: ChangedCode) -> int:
    """Have an attempt reuse what attempts before it have done; returns how much that is at most.

    Where the control plane cannot say that, everything is executed once more.
    """
    before = scope.earlier
    remembered = before.remembered if isinstance(before, Reusing) else None
    if remembered is None and scope.executor is not None:
        remembered = Remembered()
    if scope.kept_futures is not None:
        scope.kept_futures.clear()  # those of the attempt that failed decide nothing any more
    try:
        calls = EarlierCalls(scope.session.client().call_pages(scope.flow_run_id))
    except TaskyardError as error:
        get_logger("engine").warning(
            "what the flow run has done before is not known, all of it is executed once more: %s", error
        )
        calls = EarlierCalls(())
    if remembered is not None:
        remembered.begin()
    reusing = Reusing(calls, changed_code, remembered)
    reusing.begin(scope)
    scope.earlier = reusing
    return calls.completed
