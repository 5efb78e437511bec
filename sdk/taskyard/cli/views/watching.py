"""A run that is watched from another process: a line on a terminal, else its states as they come."""

import time
from typing import TYPE_CHECKING, Final

from taskyard import settings
from taskyard._network.server.calls import Client
from taskyard.cli.inside import EXECUTED, FAILED, Inside, Key, TaskSums, task_runs
from taskyard.cli.server_option import CALL_SECONDS
from taskyard.cli.views.documents import state_of
from taskyard.cli.views.output import duration
from taskyard.cli.views.runs import wait_for
from taskyard.logging import terminal
from taskyard.logging.progress_line import Counts, Pace, line, shortened
from taskyard_contract.states import FIRST_FINAL, RunKind

if TYPE_CHECKING:
    from taskyard_api.v1.run_service_pb2 import Run

LOOK_SECONDS: Final = 0.5
"""How long one question waits for the end of the run."""
LOOK_SHARE: Final = 10
"""The server is left alone for so many times as long as it took to count."""

Sums = dict[Key, TaskSums]


def watch_run(api: Client, run: "Run") -> tuple["Run", Sums]:
    """Show how far a run is until it has ended; return it, and what was inside."""
    with Client(api.address, CALL_SECONDS, patient=True) as patient:  # it was found: now it is waited for
        watched = _Watched(patient, run)
        if not terminal.size()[0] and run.state < FIRST_FINAL:
            wait_for(patient, run)
            run = patient.get_run(run.run_id)
        try:
            while run.state < FIRST_FINAL:
                run = patient.wait_run(run.run_id, watched.look(run))
        finally:
            terminal.hide()
        return run, watched.inside()


class _Watched:
    """What is known of the run, and what was said of it."""

    def __init__(self, api: Client, run: "Run") -> None:
        self._is_flow = int(run.kind) == RunKind.FLOW
        self._inside = Inside(api, run.run_id)
        self._pace: Pace | None = None

    def inside(self) -> Sums:
        return self._inside.read() if self._is_flow else {}

    def look(self, run: "Run") -> float:
        """Show how it is now; returns after how many seconds to look again, if it does not end before."""
        width, _ = terminal.size()
        begun = time.monotonic()
        sums = self.inside()
        now = time.monotonic()
        terminal.show([self._row(run, sums, now, width - 1)] if width else [])
        return max(LOOK_SECONDS, LOOK_SHARE * (now - begun))

    def _row(self, run: "Run", sums: Sums, now: float, width: int) -> str:
        tasks = task_runs(sums)
        counts = counts_of(tasks)
        if not counts.total:
            return shortened(f"{run.name} {state_of(run)[1]} {_since(run)}".rstrip(), width)
        if self._pace is None:
            self._pace = Pace(now)
            self._pace.begin_at(now, counts.ended)
        self._pace.note(now, counts)
        busiest = max(tasks, key=lambda task: task.open)
        detail = busiest.name if busiest.open else ""
        return line(run.name, counts, self._pace, width, detail=detail, colours=settings.wants_colours())


def counts_of(tasks: list[TaskSums]) -> Counts:
    """Return how far some runs are."""
    total = sum(task.runs for task in tasks)
    return Counts(
        total,
        total - sum(task.open for task in tasks),
        sum(task.count(FAILED) for task in tasks),
        sum(task.count(EXECUTED) for task in tasks),
    )


def _since(run: "Run") -> str:
    return duration(run.started_us, time.time_ns() // 1000) if run.state < FIRST_FINAL else ""


def print_end(run: "Run", inside: Sums) -> None:
    """Print how a run ended, and what was inside."""
    text = f"{run.name} {state_of(run)[1]}"
    counts = counts_of(task_runs(inside))
    if counts.total:
        text += f": {counts.ended:,}/{counts.total:,} task runs done"
        text += f", {counts.failed:,} failed" if counts.failed else ""
    took = duration(run.started_us, run.ended_us)
    print(f"{text}, took {took}" if took else text)
