"""What is inside a flow run, added up over the pages that a server tells.

Invariant: a page in which everything has ended is asked for once. So whoever follows a flow run asks for what
can still change, however many of its runs have ended.
"""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from taskyard_contract.states import FIRST_FINAL, RunKind, RunState

if TYPE_CHECKING:
    from taskyard._network.server.calls import Client
    from taskyard_api.v1.run_service_pb2 import SummarizeRunsResponse, TaskSummary

FAILED = (RunState.FAILED, RunState.CRASHED, RunState.NOT_READY)
EXECUTED = (RunState.RUNNING, RunState.CANCELLING)
Key = tuple[int, str, str]
"""Kind, name, and name of the caller's task."""


class TaskSums:
    """The runs of one task or flow inside a flow run."""

    def __init__(self, kind: int, name: str, caller: str) -> None:
        """Begin with none."""
        self.kind, self.name, self.caller = kind, name, caller
        self.states: Counter[int] = Counter()
        self.durations: Counter[int] = Counter()
        self.started_us = 0
        self.ended_us = 0

    @property
    def runs(self) -> int:
        """How many there are."""
        return self.states.total()

    def count(self, states: Iterable[int]) -> int:
        """Return how many are in one of some states."""
        return sum(self.states[state] for state in states)

    @property
    def open(self) -> int:
        """How many have not ended."""
        return self.count(state for state in self.states if state < FIRST_FINAL)

    def add(self, told: "TaskSummary") -> None:
        """Add what a page tells."""
        self.states.update({int(one.state): one.runs for one in told.counts})
        self.durations.update({one.duration_us: one.runs for one in told.durations})
        self.started_us = min(filter(None, (self.started_us, told.first_started_us)), default=0)
        self.ended_us = max(self.ended_us, told.last_ended_us)

    def median_us(self) -> int | None:
        """Return how long the one in the middle took; None while none has ended."""
        left = (self.durations.total() + 1) // 2
        for took in sorted(self.durations):
            left -= self.durations[took]
            if left <= 0:
                return took
        return None


class Inside:
    """Reads what is inside a flow run, again and again."""

    def __init__(self, api: "Client", flow_run_id: bytes, *, details: bool = False) -> None:
        """Ask a server; `details` are callers and durations."""
        self._api = api
        self._flow_run_id = flow_run_id
        self._details = details
        self._settled: list[SummarizeRunsResponse] = []
        self._token = ""

    def read(self) -> dict[Key, TaskSums]:
        """Return the sums as they are now, tasks in the order in which they were called first."""
        pages, token, settled = self._settled.copy(), self._token, True
        while True:
            page = self._api.summarize_runs(self._flow_run_id, token, details=self._details)
            pages.append(page)
            token = page.next_page_token
            settled = settled and bool(token) and not _has_open(page)
            if settled:
                self._settled.append(page)
                self._token = token
            if not token:
                return _added_up(pages)


def _has_open(page: "SummarizeRunsResponse") -> bool:
    return any(int(one.state) < FIRST_FINAL for task in page.tasks for one in task.counts)


def _added_up(pages: "Iterable[SummarizeRunsResponse]") -> dict[Key, TaskSums]:
    found: dict[Key, TaskSums] = {}
    for page in pages:
        for told in page.tasks:
            key = int(told.kind), told.task_name, told.caller_task_name
            found.setdefault(key, TaskSums(*key)).add(told)
    return found


def task_runs(sums: dict[Key, TaskSums]) -> list[TaskSums]:
    """Return what is said of task runs: flow runs wait for others, and are no work of their own."""
    return [one for one in sums.values() if one.kind != RunKind.FLOW]
