"""Log records by the runs that wrote them: so they are kept."""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from taskyard._data.runs.recorded import RunLog, logs_of
from taskyard.client.reading.matching import parts_test
from taskyard.client.reading.narrowing import MOST_IDS, Nothing, checked_ids
from taskyard.client.reading.questions import flow_runs_among
from taskyard.client.reading.schemas_of import id_or_none
from taskyard.client.reading.searching import bounds
from taskyard.client.schemas.filters import LogFilter, Operator
from taskyard.client.schemas.objects import Log
from taskyard.client.schemas.sorting import LogSort
from taskyard.exceptions import NotSupported, RunNotFound, SearchTooWide
from taskyard_contract.states import RunKind

if TYPE_CHECKING:
    from taskyard._network.server.calls import Client
    from taskyard_api.v1.run_service_pb2 import Run

MOST_RECORDS: Final = 200_000
"""Records that are read for one answer."""
_READS: Final[dict[str, Callable[[Log], Any]]] = {
    "level": lambda log: log.level,
    "timestamp": lambda log: log.timestamp,
    "flow_run_id": lambda log: log.flow_run_id,
    "task_run_id": lambda log: log.task_run_id,
}


def read_logs(
    calls: "Client", wanted: LogFilter | None, limit: int | None, offset: int | None, sort: LogSort
) -> list[Log]:
    """Return the log records that fit, in the order of their times; runs that do not exist have none.

    Raises:
        NotSupported: It is not said which runs wrote them.
        SearchTooWide: More than 200,000 records would have to be read.
    """
    first, end = bounds(limit, offset or 0)
    reading = _Reading(calls)
    try:
        flow_runs, task_runs = _whose(wanted)
    except Nothing:
        return []
    test = (parts_test(wanted, _READS) if wanted is not None else None) or (lambda _: True)
    parts = chain(map(reading.of_flow_run, flow_runs), map(reading.of_task_run, task_runs))
    found = filter(test, chain.from_iterable(parts))
    newest_first = LogSort(sort) is LogSort.TIMESTAMP_DESC
    return sorted(found, key=lambda log: log.timestamp, reverse=newest_first)[first:end]


def _whose(wanted: LogFilter | None) -> tuple[list[bytes], list[bytes]]:
    """Return the flow runs, or the task runs, whose logs are to be read."""
    if wanted is not None and wanted.operator is Operator.and_:
        by_task = wanted.task_run_id
        if by_task is not None and by_task.any_ is not None and by_task.operator is Operator.and_:
            return [], checked_ids(by_task.any_, "LogFilter.task_run_id.any_")
        if wanted.flow_run_id is not None and wanted.flow_run_id.any_ is not None:
            return checked_ids(wanted.flow_run_id.any_, "LogFilter.flow_run_id.any_"), []
    raise NotSupported(
        "log records are kept by run, so all of them cannot be searched; say whose they are, with "
        "LogFilter(flow_run_id=LogFilterFlowRunId(any_=[...])) or with task_run_id, combined by and_"
    )


class _Reading:
    """Reads logs for one answer."""

    def __init__(self, calls: "Client") -> None:
        self._calls = calls
        self._read = 0

    def of_flow_run(self, run_id: bytes) -> Iterator[Log]:
        """Yield what a flow run and its task runs have logged; a flow run inside it has a log of its own."""
        records = list(self._records(self._run(run_id, RunKind.FLOW)))
        others = flow_runs_among(self._calls, (each.run_id.bytes for each in records)) - {run_id}
        flow_run_id = id_or_none(run_id)
        for each in records:
            if each.run_id.bytes not in others:
                task_run_id = None if each.run_id == flow_run_id else each.run_id
                yield _log(each, flow_run_id, task_run_id)

    def of_task_run(self, run_id: bytes) -> Iterator[Log]:
        """Yield what a task run has logged."""
        run = self._run(run_id, RunKind.TASK)
        flow_run_id = None if run is None else id_or_none(run.flow_run_id)
        for each in self._records(run):
            yield _log(each, flow_run_id, each.run_id)

    def _run(self, run_id: bytes, kind: RunKind) -> "Run | None":
        """Return a run; None when there is none of that kind."""
        try:
            run = self._calls.get_run(run_id)
        except RunNotFound:
            return None
        return run if int(run.kind) == kind else None

    def _records(self, run: "Run | None") -> Iterator[RunLog]:
        if run is None:
            return
        token = ""
        while True:
            page = self._calls.list_run_logs(run.run_id, token, MOST_IDS)
            if not page.logs.messages:
                return
            self._read += len(page.logs.messages)
            if self._read > MOST_RECORDS:
                raise SearchTooWide(
                    f"more than {MOST_RECORDS:,} log records would have to be read and sorted; "
                    "taskyard.flow_runs.flow_run_logs yields them one by one"
                )
            yield from logs_of(page.logs)
            token = page.next_page_token


def _log(record: RunLog, flow_run_id: Any, task_run_id: Any) -> Log:
    return Log(
        name=record.name,
        level=record.level,
        message=record.message,
        timestamp=record.timestamp,
        flow_run_id=flow_run_id,
        task_run_id=task_run_id,
    )
