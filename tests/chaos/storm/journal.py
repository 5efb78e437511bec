"""What a client of a storm knows: it writes down what it submitted, what was acknowledged, what it was told.

Invariant: a line is written after the fact it tells of, so what a killed client has written is true, and
perhaps not all of it.
"""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from chaos.storm import lines
from chaos.storm.executions import digest_of
from chaos.storm.tasks import number_of

from taskyard import Future
from taskyard._network.session.unacknowledged import Unacknowledged
from taskyard.states import State
from taskyard_contract.errors import TaskyardError


class Journal:
    """The file of one process."""

    def __init__(self, path: Path) -> None:
        """Write to `path`."""
        self._path = path

    def note(self, kind: str, run: str = "", **fields: Any) -> None:
        """Write a line."""
        lines.append(self._path, at=time.time(), kind=kind, run=run, **fields)

    def submitted(self, future: Future[Any], flow: str = "", **spec: Any) -> str:
        """Note a run that was submitted; returns its id."""
        run = future.task_run_id.hex
        self.note("submitted", run, spec={"flow": flow, **spec})
        return run

    def told(self, futures: Sequence[Future[Any]]) -> None:
        """Wait for runs, and note how they ended."""
        for future in futures:
            self.ended(future, future.wait())

    def ended(self, future: Future[Any], state: State[Any] | None) -> None:
        """Note how a run ended, as its future says it: a refusal is no end."""
        assert state is not None
        run = future.task_run_id.hex
        if (
            state.is_crashed()
            and isinstance(future.result(raise_on_failure=False), TaskyardError)
            and _own(future)
        ):
            self.note("given_up", run, why=str(state.message))
            return
        result = digest_of(state.result()) if state.is_completed() else None
        self.note("told", run, state=number_of(state), result=result)

    def watch_acknowledgements(self) -> None:
        """Note which runs the control plane says are durable: users see it only by what depends on it."""
        acknowledge = Unacknowledged.acknowledge
        journal = self

        def noting(self: Unacknowledged, number: int) -> None:
            sent = [group for at, groups in self._sent if at <= number for group in groups]
            refused = set(self._refused)
            acknowledge(self, number)
            journal.acknowledged(run for group in sent for run in group.run_ids if run not in refused)

        Unacknowledged.acknowledge = noting  # type: ignore[method-assign]

    def acknowledged(self, run_ids: Iterable[bytes]) -> None:
        """Note runs that are durable."""
        runs = [run_id.hex() for run_id in run_ids]
        if runs:
            self.note("acknowledged", runs=runs)


def _own(future: Future[Any]) -> bool:
    """Whether a future was settled by an error of its session, and not by the end of its run."""
    return isinstance(future._outcome, TaskyardError)
