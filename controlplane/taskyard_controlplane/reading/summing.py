"""Sums up what is inside a flow run: how many runs of each task are in which state, and how long they took.

The database counts them as they were recorded, and an open run is recorded as it was submitted. Which of them
are executed now, the owner knows: these are few, however many wait, so they are moved afterwards.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from taskyard_api.v1 import run_service_pb2 as pb
from taskyard_contract.errors import RunNotFound
from taskyard_contract.ids import format_id
from taskyard_contract.states import FIRST_FINAL, RunState
from taskyard_controlplane.domain.live_state import InHand
from taskyard_controlplane.reading.background import Background
from taskyard_controlplane.storage.interface import Reader, SummedRuns

MOST_SUMMED: Final = 50_000
"""Runs that one call looks at: a tenth of a second's work, none of it in Python."""

_TOLD_APART: Final = (RunState.ASSIGNED, RunState.RUNNING, RunState.CANCELLING)

TaskKey = tuple[int, str, str]
"""Kind, name, and name of the caller's task."""


class RunSummarizer:
    """Sums up the runs inside a flow run, page by page."""

    def __init__(
        self, reader: Reader, background: Background, in_hand: Callable[[bytes], Iterable[InHand]]
    ) -> None:
        """Sum up what a database has; `in_hand` knows which runs of a flow run are executed now."""
        self._reader = reader
        self._background = background
        self._in_hand = in_hand

    async def page(
        self, flow_run_id: bytes, beyond: int | None, *, details: bool, most: int = MOST_SUMMED
    ) -> tuple[list[pb.TaskSummary], int | None]:
        """Return summaries of the runs beyond a position, and the position behind them; None at the end.

        Raises:
            RunNotFound: There is no such run.
        """
        flow = await self._background(self._reader.run, flow_run_id)
        if flow is None:
            raise RunNotFound(f"there is no run {format_id(flow_run_id)}", run_id=flow_run_id)
        sums = await self._background(self._reader.sums, flow.run.seq, beyond, most, details=details)
        tasks = _by_task(sums.runs)
        for one in self._in_hand(flow_run_id):
            if (beyond or 0) < one.seq <= sums.last_seq:
                _move(tasks, one, details=details)
        found = [task.message(key) for key, task in tasks.items()]
        return sorted(found, key=lambda task: task.first_submitted_us), sums.next_seq


class _Task:
    """What adds up to a summary."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.durations: Counter[int] = Counter()
        self.submitted: list[int] = []
        self.started: list[int] = []
        self.ended: list[int] = []

    def add(self, runs: SummedRuns) -> None:
        self.counts[runs.state if runs.state >= FIRST_FINAL else RunState.PENDING] += runs.runs
        self.submitted.append(runs.first_submitted_us)
        if runs.state < FIRST_FINAL:
            return
        if runs.first_digits is not None and runs.digits is not None:
            self.durations[_duration_us(runs.first_digits, runs.digits)] += runs.runs
        if runs.first_started_us:
            self.started.append(runs.first_started_us)
        if runs.last_ended_us:
            self.ended.append(runs.last_ended_us)

    def message(self, key: TaskKey) -> pb.TaskSummary:
        kind, name, caller = key
        counts = [pb.StateCount(state=state, runs=self.counts[state]) for state in sorted(+self.counts)]  # type: ignore[arg-type]  # equal
        return pb.TaskSummary(
            kind=kind,  # type: ignore[arg-type]  # numerically equal
            task_name=name,
            caller_task_name=caller,
            counts=counts,
            first_submitted_us=min(self.submitted),
            first_started_us=min(self.started, default=0),
            last_ended_us=max(self.ended, default=0),
            durations=[
                pb.DurationCount(duration_us=took, runs=self.durations[took])
                for took in sorted(self.durations)
            ],
        )


def _by_task(sums: Iterable[SummedRuns]) -> dict[TaskKey, _Task]:
    tasks: dict[TaskKey, _Task] = {}
    for runs in sums:
        key = runs.kind, runs.task_name, runs.caller_task_name or ""
        tasks.setdefault(key, _Task()).add(runs)
    return tasks


def _move(tasks: dict[TaskKey, _Task], one: InHand, *, details: bool) -> None:
    """Count a run in the state that its owner knows, if it was counted as one that waits."""
    if one.state not in _TOLD_APART:
        return
    task = tasks.get((one.kind, one.task_name, one.caller_task_name if details else ""))
    if task is not None and task.counts[RunState.PENDING]:
        task.counts[RunState.PENDING] -= 1
        task.counts[one.state] += 1


def _duration_us(first_digits: str, digits: int) -> int:
    zeros: int = 10 ** max(0, digits - len(first_digits))
    return int(first_digits) * zeros
